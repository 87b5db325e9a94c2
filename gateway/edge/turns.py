"""Begins calls to the gateway itself one after the other, so that any number of them leaves room for all else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """Lets one call begin in each turn of the event loop; those that come at once wait, in order.

    A call to the gateway itself is about a millisecond of work, a forwarded request a tenth of that in several turns.
    Were all calls begun as they arrive, each of these turns would take as long as all of them together.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], bool]] = deque()
        self._begun = False

    def begin(self, start: Callable[[], bool]) -> None:
        """Call this when it is its turn, which may be now.

        Args:
            start: begins something; `False` where there was nothing to do any more, which takes no turn.
        """
        if self._begun:
            self._waiting.append(start)
        elif start():
            self._begun = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._begun = False
        while self._waiting and not self._begun:
            self.begin(self._waiting.popleft())
