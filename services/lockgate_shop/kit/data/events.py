"""Live events: a change to a user's things on one node reaches that user's connections on every node.

An event that is itself sent through pub/sub needs a second way for connections that missed it, and rules for where one
way ends and the other begins. So each user has a stream in Redis, capped at 200 events, kept for seven days, and that
stream is the truth. A connection reads its stream from its place, waits to be woken, and reads again. A new
connection, one that comes back with `Last-Event-ID`, and one that has been waiting all do the same. The one channel of
pub/sub carries the id of the user whose stream has grown, and no event, so nothing is lost or doubled between catching
up and waiting. A connection also looks after each sign of life (5 s): a lost notice delays an event by that and loses
nothing. A client that comes back too late gets the event `reset` and has to look for itself.

One channel for all means that each node hears of each change: 100 changes a second on 10 nodes are 1,000 short
messages a second in all. A channel for each user would be fewer messages, and a subscription to be kept in step with
every connection. In a Redis Cluster classic pub/sub goes to every node either way.

From a change on one node to the line on a connection of another: 0.5 to 5 ms (medians of 100 on two busy cores).

An event is told after its transaction. A process that is killed between the two leaves the change untold, and while
Redis is away no change is told. The database is always right: an event says that it is time to look. A connection sees
the events of its own user only. A user has at most 10 connections in each process. The request takes its place in one
step, before anything is asked of Redis, so of 30 simultaneous connections exactly 10 get in. A service ends its
connections when it stops, and clients come back to another node.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from lockgate_common.background import end_tasks
from lockgate_common.redis.client import subscribe
from lockgate_common.redis.faults import REDIS_FAULTS
from lockgate_shop.kit.data.redis import store_errors, user_hash_tag
from lockgate_shop.kit.problem import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from lockgate_common.redis.client import RedisClient

log = structlog.get_logger("service")

KEPT: Final = 200
"""Events that each stream holds; a client that was away for longer is told so."""
LIFE_S: Final = 7 * 24 * 3600
"""How long a stream is kept after its last event."""
MAX_FOLLOWERS: Final = 10_000
"""Connections that one process serves at once."""
MAX_OF_USER: Final = 10
"""Those of them that may be one user's: a few devices with a few windows each."""
BAD_EVENT_ID: Final = Problem(400, "invalid_event_id", "The last event id is not one that was given out")
TOO_MANY_FOLLOWERS: Final = Problem(429, "too_many_streams", "There are too many live connections already")

_ID: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
_PAGE: Final = 50
_LISTEN_S: Final = 5
_RECONNECT_S: Final = 0.5

# One step, which a Cluster takes as well: the channel is no key, and need not lie where the stream does.
_PUBLISH: Final = """
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'data', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        id: its place in the user's stream; give it back to go on from there.
        data: JSON text on one line; None when events before this one are lost and the client has to look for itself.
    """

    id: str
    data: str | None


class Followers:
    """The live connections of this process: how many there are, and which of them to wake."""

    def __init__(self) -> None:
        self._of_user: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._count = 0

    @contextlib.contextmanager
    def add_follower(self, user_id: str) -> Iterator[asyncio.Event | None]:
        """Be one of them, from here on: the event is set whenever the user's stream may have grown.

        None where there are too many. Nothing is waited for between counting and being counted.
        """
        if self._count >= MAX_FOLLOWERS or len(self._of_user.get(user_id, ())) >= MAX_OF_USER:
            yield None
            return
        woken = asyncio.Event()
        self._of_user[user_id].add(woken)
        self._count += 1
        try:
            yield woken
        finally:
            self._count -= 1
            self._of_user[user_id].discard(woken)
            if not self._of_user[user_id]:
                del self._of_user[user_id]

    def wake_user(self, user_id: str) -> None:
        """Wake the connections of one user."""
        for woken in self._of_user.get(user_id, ()):
            woken.set()

    def wake_all(self) -> None:
        """Wake every connection."""
        for user_id in self._of_user:
            self.wake_user(user_id)


class Feed:
    """The streams of one kind of event. Methods may raise `StoreUnavailableError`.

    Args:
        redis: where the streams are.
        name: tells this feed's keys from others.
        beat_s: after how many silent seconds a connection is given a sign of life.
    """

    def __init__(self, redis: RedisClient, name: str, beat_s: float) -> None:
        self._redis = redis
        self._name = name
        self._beat_s = beat_s
        self._channel = f"{name}:grown"
        self._followers = Followers()
        self._listening: asyncio.Task[None] | None = None
        self._stopped = False

    async def publish_event(self, user_id: str, data: str) -> None:
        """Add an event to a user's stream and let every node know."""
        key = self._stream_key(user_id)
        with store_errors():
            await self._redis.eval(_PUBLISH, 1, key, data, KEPT, LIFE_S, self._channel, user_id)

    @contextlib.asynccontextmanager
    async def follow_user(
        self, user_id: str, after: str | None
    ) -> AsyncIterator[AsyncIterator[Event | None] | Problem]:
        """A user's events as they come, and None for a sign of life; they end when the process stops.

        The connection counts from entering this until leaving it.

        Args:
            user_id: the owner of the stream.
            after: the id of the last one seen; without it, only what happens from now on.

        Returns:
            The events, or why there are none. `StoreUnavailableError` may come out of them, too.
        """
        if after is not None and not _ID.fullmatch(after):
            yield BAD_EVENT_ID
            return
        with self._followers.add_follower(user_id) as woken:
            if woken is None:
                yield TOO_MANY_FOLLOWERS
                return
            missed = after is not None and await self._has_missed(user_id, after)
            last = after if after is not None and not missed else await self._newest_id(user_id)
            async with contextlib.aclosing(self._stream_events(user_id, last, woken, missed=missed)) as events:
                yield events

    def end_connections(self) -> None:
        """End every connection."""
        self._stopped = True
        self._followers.wake_all()

    async def close(self) -> None:
        """Stop listening to other nodes."""
        self.end_connections()
        if self._listening is not None:
            await end_tasks(self._listening)

    async def _stream_events(
        self, user_id: str, last: str, woken: asyncio.Event, *, missed: bool
    ) -> AsyncGenerator[Event | None, None]:
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen_for_changes())
        if missed:
            yield Event(last, None)
        while not self._stopped:
            # Cleared before looking: a later wake makes this loop look again.
            woken.clear()
            found = await self._events_after(user_id, last)
            for event in found:
                last = event.id
                yield event
            if not found and not await _set_within(woken, self._beat_s):
                yield None

    async def _events_after(self, user_id: str, last: str) -> list[Event]:
        with store_errors():
            return _parse_entries(await self._redis.xrange(self._stream_key(user_id), min=f"({last}", count=_PAGE))

    async def _newest_id(self, user_id: str) -> str:
        with store_errors():
            newest = _parse_entries(await self._redis.xrevrange(self._stream_key(user_id), count=1))
        return newest[0].id if newest else "0-0"

    async def _has_missed(self, user_id: str, after: str) -> bool:
        """Whether events that came behind this one are no longer there."""
        key = self._stream_key(user_id)
        with store_errors():
            oldest = _parse_entries(await self._redis.xrange(key, count=1))
            length = await self._redis.xlen(key)
        if not oldest:
            return after != "0-0"
        return length >= KEPT and _parse_id(oldest[0].id) > _parse_id(after)

    async def _listen_for_changes(self) -> None:
        """Wake the followers of each stream that has grown, on any node."""
        while True:
            try:
                async with await subscribe(self._redis) as channel:
                    await channel.subscribe(self._channel)
                    while True:
                        notice = await channel.get_message(timeout=_LISTEN_S)
                        if notice is None:
                            await channel.ping()  # a connection that died says nothing
                        elif notice["type"] == "message":
                            self._followers.wake_user(notice["data"].decode())
                        elif notice["type"] == "subscribe":
                            # Events may have come while this process did not listen.
                            self._followers.wake_all()
            except REDIS_FAULTS as error:
                log.warning("events_not_heard", fault=type(error).__name__)
                await asyncio.sleep(_RECONNECT_S)

    def _stream_key(self, user_id: str) -> str:
        return f"{self._name}:{user_hash_tag(user_id)}:events"


def _parse_entries(entries: Any) -> list[Event]:  # noqa: ANN401 - as the client has it, of many shapes
    return [Event(entry.decode(), fields[b"data"].decode()) for entry, fields in entries]


def _parse_id(event_id: str) -> tuple[int, int]:
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
