"""Begins calls to the gateway itself one after the other, so that any number of them leaves room for all else.

docs/decisions/0089 has the floods that this withstands.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable

Start = Callable[[], None]
Capacity = Callable[[], float]


class FairStarter:
    """Lets one call begin in each turn of the event loop; those that come at once wait, in queues.

    A call to the gateway itself is about a millisecond of work, a forwarded request a tenth of that in several turns.
    Were all calls begun as they arrive, each of these turns would take as long as all of them together.
    """

    def __init__(self) -> None:
        self._queues: list[StartQueue] = []
        self._begun = False

    def add_queue(self, capacity: Capacity = lambda: math.inf) -> StartQueue:
        """Another queue. Those in which somebody waits have their turns alternately, however long they are.

        Args:
            capacity: tells how many may wait in it now.
        """
        queue = StartQueue(self.start_next, capacity)
        self._queues.append(queue)
        return queue

    def start_next(self) -> None:
        """Begin what is next, unless something has begun in this turn."""
        if self._begun:
            return
        served = next((queue for queue in self._queues if queue.waiting), None)
        if served is None:
            return
        # Stable: it is asked last from now on, and the others stay as they are.
        self._queues.sort(key=lambda queue: queue is served)
        self._begun = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        start, _ = served.waiting.popitem(last=False)
        start()

    def _end_turn(self) -> None:
        self._begun = False
        self.start_next()


class StartQueue:
    """Calls that wait for their turn, in order.

    Args:
        on_added: to be called when somebody has come to wait.
        capacity: tells how many may wait now.

    Attributes:
        waiting: what begins each of them.
    """

    def __init__(self, on_added: Callable[[], None], capacity: Capacity) -> None:
        self.waiting: OrderedDict[Start, None] = OrderedDict()
        self._on_added = on_added
        self._capacity = capacity

    def add_start(self, start: Start) -> bool:
        """Call this when it is its turn, which may be now; `False` where there is no room to wait for it."""
        if len(self.waiting) >= self._capacity():
            return False
        self.waiting[start] = None
        self._on_added()
        return True

    def remove_start(self, start: Start) -> None:
        """Who waits no longer takes no turn and no room."""
        self.waiting.pop(start, None)
