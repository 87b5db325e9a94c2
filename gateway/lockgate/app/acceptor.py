"""Accepts client connections on a socket that the workers of a node share, so that each gets its share.

The kernel wakes every worker for a connection, and the first to come gets it. Left to themselves, the workers that are
awake anyway take most (decision 0170). So a worker that has more connections than another worker leaves a new
connection in the queue, and looks again each millisecond. After twenty of them it takes the connection itself: the
other worker hangs, and no connection must wait for it. A worker that has just been started takes new connections until
it has as many as the others.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import socket
import ssl
from collections.abc import Callable
from typing import Final

from lockgate.app.node import ConnectionCounts
from lockgate.settings import LimitSettings

LEFT_TO_OTHERS_S: Final = 0.02
"""How long a connection stays in the queue for a worker that has fewer, at most."""
_LOOK_S: Final = 0.001
OUT_OF_DESCRIPTORS_S: Final = 1.0
SLACK: Final = 2
"""How many more connections than the least busy worker may always be there, so that a burst is taken by all at once."""
SLACK_PART: Final = 16
"""And this part of the connections of that worker."""
_BATCH: Final = 4
"""How many connections are taken in one turn."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = logging.getLogger("lockgate")


class Handshakes:
    """The TLS handshakes that a worker has begun. A connection counts at the edge only after its handshake.

    Args:
        context: returns the context for a new connection.
        limits: returns the limits in force. A handshake may take `head_s`, and so may the exchange at the end of a
            connection. Those under way count for `connections`, and those of one address for `connections_per_peer`.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext], limits: Callable[[], LimitSettings]) -> None:
        self.context = context
        self._limits = limits
        self._by_address: dict[str, int] = {}

    @property
    def within_s(self) -> float:
        """How long a handshake may take, in seconds."""
        return self._limits().head_s

    def admit(self, address: str, connections: int) -> bool:
        """Count a handshake; `False` where there are too many.

        Args:
            address: of the client.
            connections: how many there are, with those in a handshake.
        """
        count, limits = self._by_address.get(address, 0), self._limits()
        if connections >= limits.connections or count >= limits.connections_per_peer:
            return False
        self._by_address[address] = count + 1
        return True

    def release(self, address: str) -> None:
        """Count the end of a handshake that `admit` counted."""
        count = self._by_address[address] - 1
        if count:
            self._by_address[address] = count
        else:
            del self._by_address[address]


class Acceptor:
    """Accepts connections in the running event loop until it is closed.

    Args:
        listener: listens already; stays open.
        make_protocol: makes the protocol of a connection.
        connections: returns how many connections this worker has.
        counts: of the node.
        worker: the number of this worker in the node.
        clock: returns the monotonic time in seconds.
        handshakes: how connections begin with a TLS handshake; `None`: they begin with a request.
    """

    def __init__(  # noqa: PLR0913 - what a worker shares, and what it has for itself
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        connections: Callable[[], int],
        *,
        counts: ConnectionCounts,
        worker: int,
        clock: Callable[[], float],
        handshakes: Handshakes | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._connections = connections
        self._counts = counts
        self._worker = worker
        self._clock = clock
        self._handshakes = handshakes
        self._opening: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._leave_until = 0.0
        self._waiting = select.poll()
        self._waiting.register(listener, select.POLLIN)
        listener.setblocking(False)  # noqa: FBT003 - the library's spelling
        self.publish_count()
        self._loop.add_reader(listener.fileno(), self._accept_in_turn)

    def publish_count(self) -> None:
        """Tell the other workers how many connections this one has; due every second, with connections or without."""
        self._counts.write(self._worker, self._count(), self._clock())

    def close(self) -> None:
        """Accept no more. What waits in the queue is left to the other workers."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._counts.withdraw(self._worker)

    def _count(self) -> int:
        return self._connections() + len(self._opening)

    def _accept_in_turn(self) -> None:
        if self._has_more_than_others():
            self._leave_until = self._clock() + LEFT_TO_OTHERS_S
            self._look_again_in(_LOOK_S)
        else:
            # A turn of a busy worker is long, so a burst of connections must not take a turn for each.
            taken = 0
            while taken < _BATCH and not self._has_more_than_others() and self._accept_one():
                taken += 1
        self.publish_count()

    def _has_more_than_others(self) -> bool:
        least = self._counts.least_of_others(self._worker, self._clock())
        return self._count() > least + max(SLACK, least // SLACK_PART)

    def _look_again_in(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(seconds, self._look_again)

    def _look_again(self) -> None:
        """Accept what the other workers have left in the queue for long enough."""
        if self._waiting.poll(0) and self._has_more_than_others() and self._clock() < self._leave_until:
            self._pause = self._loop.call_later(_LOOK_S, self._look_again)
            return
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._accept_in_turn)
        taken = 0
        while taken < _BATCH and self._accept_one():
            taken += 1
        self.publish_count()

    def _accept_one(self) -> bool:
        """Accept a connection; whether there was one."""
        try:
            accepted, address = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            _log.error("no connection can be accepted: %s", error.strerror)
            self._look_again_in(OUT_OF_DESCRIPTORS_S)
            return False
        accepted.setblocking(False)  # noqa: FBT003 - as above
        handshakes, client = self._handshakes, address[0] if isinstance(address, tuple) else ""
        if handshakes is None:
            opening = self._open(accepted)
        elif handshakes.admit(client, self._count()):
            opening = self._shake_hands(accepted, client, handshakes)
        else:
            accepted.close()
            return True
        task = self._loop.create_task(opening)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, accepted)
        except OSError:  # the client has gone in the meantime
            accepted.close()

    async def _shake_hands(self, accepted: socket.socket, address: str, handshakes: Handshakes) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make_protocol,
                accepted,
                ssl=handshakes.context(),
                ssl_handshake_timeout=handshakes.within_s,
                ssl_shutdown_timeout=handshakes.within_s,
            )
        except OSError:  # the client broke off, speaks no TLS of ours, or took too long; the transport is closed
            accepted.close()
        finally:
            handshakes.release(address)
