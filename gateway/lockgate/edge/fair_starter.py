"""Starts the gateway's own calls one at a time, so that many of them do not delay forwarded requests.

`docs/decisions/0089` describes the floods that this withstands.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable

Start = Callable[[], None]
Capacity = Callable[[], float]


class FairStarter:
    """Starts a single call in each turn of the event loop; further calls wait in queues.

    A call to the gateway itself is about a millisecond of work, a forwarded request a tenth of that in several turns.
    If every call started on arrival, each of these turns would take as long as all waiting calls together.
    """

    def __init__(self) -> None:
        self._queues: list[StartQueue] = []
        self._begun = False

    def add_queue(self, capacity: Capacity = lambda: math.inf) -> StartQueue:
        """A new queue. Queues with waiting calls take turns, regardless of their length.

        Args:
            capacity: returns how many calls may wait in the queue now.
        """
        queue = StartQueue(self.start_next, capacity)
        self._queues.append(queue)
        return queue

    def start_next(self) -> None:
        """Start the next waiting call, unless a call has started in this turn."""
        if self._begun:
            return
        served = next((queue for queue in self._queues if queue.waiting), None)
        if served is None:
            return
        # A stable sort: the served queue comes last from now on, and the order of the others stays.
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
        on_added: called after a call was added.
        capacity: returns how many calls may wait now.

    Attributes:
        waiting: the function that starts each call.
    """

    def __init__(self, on_added: Callable[[], None], capacity: Capacity) -> None:
        self.waiting: OrderedDict[Start, None] = OrderedDict()
        self._on_added = on_added
        self._capacity = capacity

    def add_start(self, start: Start) -> bool:
        """Call `start` at its turn, maybe before this returns; `False` where the queue is full."""
        if len(self.waiting) >= self._capacity():
            return False
        self.waiting[start] = None
        self._on_added()
        return True

    def remove_start(self, start: Start) -> None:
        """Remove a call that is no longer wanted; no effect where the call has started."""
        self.waiting.pop(start, None)
