"""The coarse clock tick of a worker: deadlines, and the time of day as header text.

A timer for each request would cost more than the parsing of the request. Deadlines here are seconds, so a check of all
connections twice a second is exact enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from lockgate.clock import Clock

PERIOD_S: Final = 0.5


class Ticker:
    """Keeps a coarse monotonic time and calls its listeners at every tick.

    Attributes:
        now: monotonic seconds at the last tick.
        date: the current Date field value (RFC 9110 section 5.6.7).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: list[Callable[[float], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.now = clock.monotonic()
        self.date = formatdate(clock.now(), usegmt=True)

    def add_listener(self, listener: Callable[[float], None]) -> None:
        """Call `listener` with the monotonic time at every tick."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[float], None]) -> None:
        """Call `listener` no more. An unknown listener is ignored."""
        self._listeners = [kept for kept in self._listeners if kept != listener]

    def start(self) -> None:
        """Start ticking in the running loop."""
        self._timer = asyncio.get_running_loop().call_later(PERIOD_S, self._tick_again)

    def stop(self) -> None:
        """Stop ticking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def tick(self) -> None:
        """Tick once, now. Tests call this instead of waiting."""
        self.now = self._clock.monotonic()
        self.date = formatdate(self._clock.now(), usegmt=True)
        for listener in self._listeners:
            listener(self.now)

    def _tick_again(self) -> None:
        self.start()
        self.tick()
