"""The rest of a request's body after an early response: discarded, within bounds.

A response may come before the request's body was read: 401, 404, 413, 503, and early responses of services. A client
that still sends when the connection is closed gets a TCP reset, and loses the response (RFC 9112 section 9.6): node's
`fetch`, axios, urllib and nginx did so for half of all uploads of 8 MB. A half-close at once, as that section
describes, does not help node: while node writes, the end of the server's side looks like a broken connection (`EPIPE`).

So the gateway continues to read. It finds the body's end by its framing and discards the body, up to the size that the
route would have taken (`body_bytes`; for the gateway's own calls `limits.body_bytes`), for 30 s, at 16 KiB/s from the
sixth second on. At the end of the body, after half a second of silence, or at a bound, the gateway closes its side, and
two seconds later the connection. At a bound the rest stays unread instead of being reset at once, so that the client
has those seconds to read. The connection is never used again: no byte of such a body can become a request. Two kinds of
bytes are not discarded in this way: a body that was announced with `Expect: 100-continue` and not requested, and bytes
that are no request (1 MiB and two seconds).

A client without rights can send as much as a client with rights, at the price of a connection, which is counted in all
and for its peer. A client that sends all before it reads (urllib) does not see a 413 for a body that is larger than the
limit by more than the sockets' buffers hold: reading on without a bound would be no limit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lockgate.edge.wire import ChunkedReader, LengthReader, WireError

TOTAL_S: Final = 30.0
WINDOW_S: Final = 5.0
"""Seconds between checks of the rate; in the first window the rate does not count."""
RATE: Final = 16 * 1024
"""Bytes per second that a client must send between two checks."""
QUIET_S: Final = 0.5
"""After so much silence the gateway closes its side. Earlier, a client that still writes (node) takes the end of the
gateway's side for a broken connection, and loses the response too."""
CHUNK_OVERHEAD: Final = 64 * 1024
"""Bytes that chunk lines and trailers may take beyond the size of the body."""


class BodyBounds(NamedTuple):
    """How large and how slow the bodies of a path's requests may be.

    A time for the whole body would refuse honest uploads (300 s for 200 MB is 5.6 Mbit/s), and no bound at all would
    let a client hold a connection for days with a byte every 29 s. So a forwarded body comes with `limits.body_rate`
    (500 bytes/s, as Apache's `mod_reqtimeout` asks for), or with its route's, in each `limits.body_idle_s`, and is
    never silent for longer. Time in which the gateway does not read, because the service is slow, does not count. The
    gateway's own calls have bodies of 16 KiB and a total. Size and rate bound how long a connection is held: 10 MiB at
    500 bytes/s is six hours. The number of connections of a peer limits such clients, and a route for large uploads can
    ask for a higher rate.

    Attributes:
        size: bytes of an accepted body.
        discarded: bytes of an unread body that are discarded before the connection is closed.
        rate: the lowest bytes per second.
        total_s: the longest time for a whole body, seconds.
    """

    size: int
    discarded: int
    rate: float
    total_s: float


class UnreadBody:
    """Discards the rest of a body.

    Args:
        reader: finds the end of the body; `None` where the framing is lost.
        allowed: the most bytes to discard.
        now: monotonic seconds.
    """

    __slots__ = ("_allowed", "_checked_at", "_discarded", "_ends", "_reader")

    def __init__(self, reader: LengthReader | ChunkedReader | None, allowed: int, now: float) -> None:
        self._reader = reader
        self._allowed = allowed + CHUNK_OVERHEAD
        self._ends = now + TOTAL_S
        self._checked_at = now
        self._discarded = 0

    @property
    def finished(self) -> bool:
        """The end of the body was read."""
        return self._reader is not None and self._reader.finished

    def discard(self, data: bytes) -> bool:
        """Discard bytes. Returns whether more may come."""
        self._discarded += len(data)
        self._allowed -= len(data)
        if self._reader is not None:
            try:
                self._reader.feed(data)
            except WireError:
                self._reader = None
        return self._allowed > 0 and not self.finished

    def check_rate(self, now: float) -> float | None:
        """The time of the next check, monotonic seconds; `None` where the client was too slow or its time is over."""
        if now >= self._ends or self._discarded < RATE * (now - self._checked_at):
            return None
        self._checked_at, self._discarded = now, 0
        return min(now + WINDOW_S, self._ends)
