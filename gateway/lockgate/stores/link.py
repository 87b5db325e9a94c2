"""A pipelined connection to Redis that is asked once for everything a tick of the event loop wants to know.

redis-py makes the connection, so that addresses, TLS and authentication stay its business. After that the bytes are
ours: an answer is a callback, not a coroutine that has to be woken up for each request.

docs/decisions/0003 has the reasons and the price.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from time import monotonic
from typing import Any, Final, TypeVar, cast

import hiredis
from redis.asyncio.connection import AbstractConnection

from lockgate.stores.packed import PackedCommand, Words
from lockgate_common.background import end_tasks
from lockgate_common.redis.faults import REDIS_FAULTS

Command = Words | PackedCommand
Replies = list[Any] | None
"""One reply for each command, or `None`: Redis did not answer in time, or with an error."""
Callback = Callable[[Replies], None]
MakeConnection = Callable[[], AbstractConnection]

T = TypeVar("T")


class Away(Enum):
    """What stands for a value whose node of a Cluster did not answer, or that a full Redis could not count."""

    AWAY = "away"


AWAY: Final = Away.AWAY

CONNECT_S: Final = 1.0
LATE_S: Final = 0.02
"""A timer that is later than that says that the event loop was held up; and how long the second look is put off."""
EARLY_S: Final = 0.001
"""What a timer may be too early, by the loop's clock of whole milliseconds."""
DEMOTED: Final = "READONLY "
"""How a replica answers a write (the first word of a Redis error is its code)."""
FULL: Final = "OOM "
"""How a Redis without room answers a write."""
RECONNECT_S: Final = 0.25
"""Seconds between attempts to reach Redis again: recovery takes no longer than that and the connection itself."""


def call_back(callback: Callable[[T], None], value: T) -> None:
    """Call back, and report a fault of it, rather than leave later callbacks without an answer."""
    try:
        callback(value)
    except Exception as error:  # noqa: BLE001 - a defect, in code that belongs to one request
        context = {"message": "a request failed on its answer from Redis", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)


async def await_callback(begin: Callable[[Callable[[T], None]], None]) -> T:
    """The value that `begin` calls back with, for callers that can wait; one that was cancelled is not called back."""
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def settle(value: T) -> None:
        if not outcome.done():
            outcome.set_result(value)

    begin(settle)
    return await outcome


class RedisLink(asyncio.Protocol):
    """Asks Redis, and knows at once when Redis is away.

    While the connection is away every question is answered `None` immediately: no request waits for a time-out, and
    one attempt at a time is made to get the connection back.

    Args:
        make_connection: a connection of redis-py's, not yet connected; the link takes it over.
        timeout_s: how long an answer may take before the connection is given up.
    """

    def __init__(self, make_connection: MakeConnection, timeout_s: float) -> None:
        self._make_connection = make_connection
        self._timeout_s = timeout_s
        self._on_connected: Callable[[], None] = do_nothing
        self._reader: Any = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._connection: AbstractConnection | None = None
        self._waiting: deque[tuple[int, Callback]] = deque()
        self._replies: list[Any] = []
        self._watchdog: asyncio.TimerHandle | None = None
        self._answered = 0
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether Redis is connected."""
        return self._transport is not None

    def listen(self, on_connected: Callable[[], None]) -> None:
        """Call whenever there is a new connection: maybe to another server, and what the last one said may be old."""
        self._on_connected = on_connected

    async def open(self) -> None:
        """Connect for the first time, and keep trying in the background from then on."""
        with contextlib.suppress(*REDIS_FAULTS):
            await self._open_connection()
        self._keeper = asyncio.create_task(self._keep_connected())

    async def close(self) -> None:
        """Disconnect; questions under way are answered `None`."""
        if self._keeper is not None:
            await end_tasks(self._keeper)
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
        data = [one.data if isinstance(one, PackedCommand) else PackedCommand.of(*one).data for one in commands]
        self._send(transport, b"".join(data))
        if self._watchdog is None:
            self._watch()

    def _send(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send the commands of a question."""
        transport.write(data)

    # --- what the event loop calls -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Answers come in the order of the questions."""
        self._reader.feed(data)
        gets = self._reader.gets
        try:
            while (reply := gets()) is not False:
                # What is out of band in RESP3 (CLIENT MAINT_NOTIFICATIONS, for one) is the answer to no question.
                if isinstance(reply, hiredis.PushNotification):
                    continue
                if not self._waiting:
                    self._give_up()  # a reply to no command: nothing more can be believed
                    return
                self._replies.append(reply)
                if len(self._replies) == self._waiting[0][0] and not self._take_over_transport():
                    return
        except hiredis.ProtocolError:
            self._give_up()

    def _take_over_transport(self) -> bool:
        """Hand the oldest question its replies; `False` where this connection is of no more use."""
        replies, self._replies = self._replies, []
        _, callback = self._waiting.popleft()
        self._answered += 1
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        call_back(callback, self._outcome(replies) if errors else replies)
        if any(str(error).startswith(DEMOTED) for error in errors):
            # No master any more. Reconnect to find the new one. A replica may be stale, so its replies are not used.
            self._give_up()
            return False
        return True

    def _outcome(self, replies: list[Any]) -> Replies:
        """What is made of replies with errors among them. A Redis without room still tells what it holds."""
        told = [AWAY if isinstance(reply, Exception) and str(reply).startswith(FULL) else reply for reply in replies]
        return None if any(isinstance(reply, Exception) for reply in told) else told

    def connection_lost(self, exc: Exception | None) -> None:
        """Redis is gone."""
        del exc
        self._give_up()

    # --- staying connected -------------------------------------------------------------------------------------

    async def _open_connection(self) -> None:
        connection = self._make_connection()
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
                await self._check_server(connection)
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
        self._on_connected()

    async def _check_server(self, connection: AbstractConnection) -> None:
        """Raise one of `REDIS_FAULTS` where this is not the server to ask."""

    async def _until_lost(self) -> None:
        """Wait until the connection is not what it was."""
        await self._lost.wait()

    async def _keep_connected(self) -> None:
        while True:
            if self._transport is not None:
                await self._until_lost()
                continue
            try:
                await self._open_connection()
            except REDIS_FAULTS:
                await asyncio.sleep(RECONNECT_S)

    def _watch(self) -> None:
        self._check_after((self._timeout_s - LATE_S) / 2, self._answered, again=False)

    def _check_after(self, seconds: float, answered: int, *, again: bool) -> None:
        # By the real clock: the loop's own stands still while a callback runs.
        due = monotonic() + seconds
        self._watchdog = asyncio.get_running_loop().call_later(seconds, self._check_silence, answered, due, again)

    def _check_silence(self, answered_then: int, due: float, again: bool) -> None:  # noqa: FBT001 - a callback's argument
        """One timer for all questions: a period without any answer, after up to one spent waiting, is the time-out.

        The loop runs timers before it reads, so the answer may be lying there, unread. That is why one look is never
        enough: Redis is given up at another one, for which this worker was in time, so that it has read before.
        """
        self._watchdog = None
        if not self._waiting:
            return
        late = monotonic() - due
        if self._answered != answered_then:
            self._watch()
        elif late < -EARLY_S:
            self._check_after(-late, answered_then, again=again)
        elif not again or late > LATE_S:
            self._check_after(LATE_S, answered_then, again=True)
        else:
            self._give_up()

    def _give_up(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        connection, self._connection = self._connection, None
        if connection is not None:
            # Its transport is closed; redis-py has to know, or it warns of an unclosed connection.
            connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001 - `disconnect` is a coroutine
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        self._lost.set()
        self._replies = []
        waiting, self._waiting = self._waiting, deque()
        for _, callback in waiting:
            call_back(callback, None)


def do_nothing() -> None:
    """The callback of a link that has no listener."""
