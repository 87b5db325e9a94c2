"""What is left of a request's body when its response was sent before it was read: discarded, within bounds.

A client that still sends when the connection is closed gets a reset, and a reset makes it lose the response (RFC 9112
section 9.6). A client that sends for ever, or hardly at all, is no reason to keep a connection.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lockgate.edge.wire import ChunkedReader, LengthReader, WireError

TOTAL_S: Final = 30.0
WINDOW_S: Final = 5.0
"""How often the rate is looked at; so much time has a client before it counts."""
RATE: Final = 16 * 1024
"""Bytes per second that a client sends at least, from one look to the next."""
QUIET_S: Final = 0.5
"""A client that sends nothing for so long is told that no more is read. Sooner, some of them take the end of the
gateway's side for a broken connection while they write (node), and lose the response, too."""
CHUNK_OVERHEAD: Final = 64 * 1024
"""What chunk lines and trailers may take beyond the size of the body they frame."""


class BodyBounds(NamedTuple):
    """How large and how slow the bodies of a path's requests may be.

    Attributes:
        size: bytes of a body that is accepted.
        discarded: bytes of a body that nobody reads, before its connection is closed.
        rate: bytes per second that a client sends at least.
        total_s: how long a body may take in all, seconds.
    """

    size: int
    discarded: int
    rate: float
    total_s: float


class Leftover:
    """Discards the rest of a body.

    Args:
        reader: knows where the body ends; `None` where its framing is lost.
        allowed: how many bytes are discarded at most.
        now: monotonic seconds.
    """

    __slots__ = ("_allowed", "_ends", "_looked", "_reader", "_taken")

    def __init__(self, reader: LengthReader | ChunkedReader | None, allowed: int, now: float) -> None:
        self._reader = reader
        self._allowed = allowed + CHUNK_OVERHEAD
        self._ends = now + TOTAL_S
        self._looked = now
        self._taken = 0

    @property
    def finished(self) -> bool:
        """The end of the body was read."""
        return self._reader is not None and self._reader.finished

    def take(self, data: bytes) -> bool:
        """Discard bytes; whether more may come."""
        self._taken += len(data)
        self._allowed -= len(data)
        if self._reader is not None:
            try:
                self._reader.feed(data)
            except WireError:
                self._reader = None
        return self._allowed > 0 and not self.finished

    def look(self, now: float) -> float | None:
        """When to look again, monotonic seconds; `None` where the client was too slow, or its time is over."""
        if now >= self._ends or self._taken < RATE * (now - self._looked):
            return None
        self._looked, self._taken = now, 0
        return min(now + WINDOW_S, self._ends)
