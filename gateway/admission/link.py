"""A pipelined connection to Redis that is asked once for everything a tick of the event loop wants to know.

redis-py makes the connection, so that addresses, TLS and authentication stay its business. After that the bytes are
ours: an answer is a callback, not a coroutine that has to be woken up for each request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

Command = tuple[bytes | str | int, ...]
Replies = list[Any] | None
"""One reply for each command, or `None`: Redis did not answer in time, or with an error."""
Callback = Callable[[Replies], None]

T = TypeVar("T")

CONNECT_S: Final = 1.0
LATE_S: Final = 0.02
"""A timer that is later than that says that the event loop was held up."""
RECONNECT_S: Final = 0.25
"""Seconds between attempts to reach Redis again: recovery takes no longer than that and the connection itself."""


def call_back(callback: Callable[[T], None], value: T) -> None:
    """Call back, and report a fault of it, rather than leave everybody who comes after it without an answer."""
    try:
        callback(value)
    except Exception as error:  # noqa: BLE001 - a defect, in code that belongs to one request
        context = {"message": "a request failed on its answer from Redis", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)


class RedisLink(asyncio.Protocol):
    """Asks Redis, and knows at once when there is nobody to ask.

    While the connection is away every question is answered `None` immediately: no request waits for a time-out, and
    one attempt at a time is made to get the connection back.

    Args:
        redis: the client whose connection settings are used.
        timeout_s: how long an answer may take before the connection is given up.
    """

    def __init__(self, redis: Redis, timeout_s: float) -> None:
        self._pool = redis.connection_pool
        self._timeout_s = timeout_s
        self._reader: Any = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._connection: AbstractConnection | None = None
        self._waiting: deque[tuple[int, Callback]] = deque()
        self._replies: list[Any] = []
        self._watchdog: asyncio.TimerHandle | None = None
        self._answered = 0
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._closing = False

    @property
    def connected(self) -> bool:
        """Whether there is somebody to ask."""
        return self._transport is not None

    async def open(self) -> None:
        """Connect for the first time, and keep trying in the background from then on."""
        with contextlib.suppress(RedisError, OSError):
            await self._connect()
        self._keeper = asyncio.create_task(self._keep_connected())

    async def close(self) -> None:
        """Disconnect; questions under way are answered `None`."""
        # While it connects, redis-py may take a cancellation for its own time-out and go on; so tell the keeper, too.
        self._closing = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        self._give_up()

    def ask(self, commands: Sequence[Command], callback: Callback) -> None:
        """Send commands in one write.

        Args:
            commands: at least one.
            callback: called once, maybe before this returns.
        """
        transport = self._transport
        if transport is None:
            callback(None)
            return
        self._waiting.append((len(commands), callback))
        pack = hiredis.pack_command
        transport.write(b"".join([pack(command) for command in commands]))  # type: ignore[arg-type]  # hiredis' types
        if self._watchdog is None:
            self._watch()

    # --- what the event loop calls -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Answers come in the order of the questions."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                # What is out of band in RESP3 (CLIENT MAINT_NOTIFICATIONS, for one) is the answer to no question.
                if not isinstance(reply, hiredis.PushNotification) and not self._take(reply):
                    return
        except hiredis.ProtocolError:
            self._give_up()

    def _take(self, reply: Any) -> bool:  # noqa: ANN401 - Redis has many types
        """A reply to the oldest question; `False` where there is none, and nothing more can be believed."""
        if not self._waiting:
            self._give_up()
            return False
        self._answered += 1
        self._replies.append(reply)
        count, callback = self._waiting[0]
        if len(self._replies) == count:
            replies, self._replies = self._replies, []
            self._waiting.popleft()
            call_back(callback, None if any(isinstance(one, Exception) for one in replies) else replies)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Redis is gone."""
        del exc
        self._give_up()

    # --- staying connected -------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        # redis-py has no callback interface; its stream writer holds the transport that we take over.
        transport = cast("asyncio.Transport", cast("asyncio.StreamWriter", connection._writer).transport)  # noqa: SLF001
        self._reader = hiredis.Reader()
        self._connection = connection
        transport.set_protocol(self)
        transport.resume_reading()
        self._transport = transport
        self._lost.clear()

    async def _keep_connected(self) -> None:
        while not self._closing:
            if self._transport is not None:
                await self._lost.wait()
                continue
            try:
                await self._connect()
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(RECONNECT_S)

    def _watch(self) -> None:
        self._check_after(self._timeout_s / 2, self._answered)

    def _check_after(self, seconds: float, answered: int) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        self._watchdog = loop.call_at(due, self._check, answered, due)

    def _check(self, answered_then: int, due: float) -> None:
        """One timer for all questions: a period without any answer, after up to one spent waiting, is the time-out."""
        self._watchdog = None
        if not self._waiting:
            return
        if self._answered != answered_then:
            self._watch()
        elif asyncio.get_running_loop().time() - due > LATE_S:
            # It was this worker that was busy, not Redis: the loop runs timers before it reads, so the answer may be
            # lying there. Look again when the sockets have been read.
            self._check_after(LATE_S, answered_then)
        else:
            self._give_up()

    def _give_up(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        connection, self._connection = self._connection, None
        if connection is not None:
            # Its transport is closed; redis-py has to know, or it warns of a connection that nobody closed.
            connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001 - `disconnect` is a coroutine
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        self._lost.set()
        self._replies = []
        waiting, self._waiting = self._waiting, deque()
        for _, callback in waiting:
            call_back(callback, None)
