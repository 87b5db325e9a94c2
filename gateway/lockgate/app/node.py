"""What the workers of a node share: made once by their parent, and inherited when it forks them."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from struct import Struct
from typing import Final

from lockgate.identity.marks import SharedMarks

_SLOT: Final = Struct("=qd")
_ANY_NUMBER: Final = 1 << 62
FRESH_S: Final = 2.0
"""How long a worker's number counts after it was written. A worker that writes none for longer hangs, or is dead."""


class ConnectionCounts:
    """How many client connections each worker has, in memory that the workers share.

    The numbers are hints: a torn or old one costs balance for a moment, and no connection. So there is no lock.

    Args:
        workers: how many workers the node has at most.
    """

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, workers * _SLOT.size)

    def write(self, worker: int, connections: int, now: float) -> None:
        """Write a worker's number, at a monotonic time in seconds."""
        _SLOT.pack_into(self._memory, worker * _SLOT.size, connections, now)

    def withdraw(self, worker: int) -> None:
        """Take a worker's number away: the worker accepts no more connections."""
        self.write(worker, 0, 0)

    def least_of_others(self, worker: int, now: float) -> int:
        """The number of the worker with the fewest connections, this one left out; a huge one where it is alone."""
        slots = enumerate(_SLOT.iter_unpack(self._memory))
        return min(
            (count for other, (count, at) in slots if at > now - FRESH_S and other != worker), default=_ANY_NUMBER
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A worker's part in its node.

    Attributes:
        worker: its number, from 0; a worker that replaces a dead one has the same.
        counts: the connections of each worker.
        marks: of verified signatures.
    """

    worker: int
    counts: ConnectionCounts
    marks: SharedMarks
