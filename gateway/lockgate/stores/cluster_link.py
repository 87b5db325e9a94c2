"""The link to a Redis Cluster: a connection to each master, and one round trip to each that a tick has questions for.

The link to one server asks once in a tick, with one `MGET` for all tokens. In a Cluster an `MGET` must stay in one
slot, slots move, and nodes come and go. redis-py's cluster client knows all that, at about 100 µs of CPU for a call.
So `ClusterLink` has a `RedisLink` to each master. A tick's question is cut into parts, one for each user (an `MGET` of
three keys, which share a hash tag) and one for each counter, and goes out as one write to each master that has slots
in it. redis-py keeps the slot map; the link reads it, and has it renewed when a master is away or an error says so.

- A node that is away is away for its users. Values that it would have given are `AWAY` among the replies. The gate
  responds 503 to those requests, and counts limits with a counter there by the worker alone. The rest of the tick gets
  its replies.
- MOVED patches the map and asks again. ASK and TRYAGAIN ask again key by key, with `ASKING` where it is due: of a slot
  that is being moved, some keys are here and some there, and most, being revocations that were never made, are
  nowhere. All within the time-out of one reply; then 503.
- Scripts instead of transactions. redis-py's transactions on a Cluster start a thread and an event loop for each
  command, and take the channel of a `PUBLISH` for a key. So each change to a session is a Lua script with keys of one
  user, run by `EVALSHA`, and by `EVAL` where a node does not know the script: `SCRIPT LOAD` would need every master to
  be there.
- Guesses are counted in one slot. The counters of account, network and all logins change in one step, so they share
  the tag `{login}`, and every login needs the master with that slot. Counting in three steps would let guesses slip
  through between them.
- Messages of revocation use classic `PUBLISH`, which a Cluster tells to all nodes; a worker subscribes at any master.
- redis-py's client must not repeat commands by itself: a `GETDEL` with a lost reply would find nothing the second
  time, and a ticket would be refused as used instead of 503.
- Keys that admission asks for come in threes of one tag. A new question keeps that shape (`KEYS_OF_A_QUESTION` in
  `lockgate.stores.layout`).
- While a slot is being moved, redis-py may send `ASKING` and the command on two connections. A write for a user of
  that slot is then 503, and the caller tries it again.

One connection, three keys for each of 64 users in one tick, CPU of the worker and of the server, µs a user, server on
a unix socket: one `MGET` for all 0.5 and 0.3; an `MGET` for each user 0.9 and 0.4; a `GET` for each key 1.7 and 0.8.
The slot of a key costs 0.4 µs; a renewal of the slot map 8.5 ms, at most twice a second and only while something is
out of place. The whole question, three masters by TCP on the same machine: 29, 17, 4.6 and 3.4 µs of the worker's CPU
with 1, 8, 64 and 200 users in a tick. 200 users in one tick are one read at each of three masters. On one server
nothing changed: 16.0 to 16.5, 3.3 to 3.4 and 1.8 µs a question with 1, 8 and 64 in a tick before; 16.4 to 16.6, 3.1 to
3.2 and 1.6 to 2.1 after (measured in turns on a busy machine; docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from lockgate.stores.layout import KEYS_OF_A_QUESTION
from lockgate.stores.link import AWAY, CONNECT_S, Callback, Command, RedisLink, Replies, call_back, do_nothing
from lockgate.stores.packed import PackedCommand, Words
from lockgate_common.background import BackgroundTasks
from lockgate_common.redis.cluster import ClusterClient
from lockgate_common.redis.faults import REDIS_FAULTS
from lockgate_common.redis.sentinel import RENEW_S

HOPS: Final = 4
"""How often a question may be sent on: to where a slot has moved, key by key, and on to where some of the keys are."""
REFRESH_S: Final = 0.5
"""Seconds between looks for the successor of a master that is away."""


class _Part(NamedTuple):
    """A command whose keys are in one slot.

    Attributes:
        place: of its value among those of the whole question; of the first one, where there are several.
    """

    command: Words
    place: int
    slot: int

    def singly(self) -> list[_Part]:
        """The same, key by key: of a slot that is being moved, some keys may be here and some there."""
        if self.command[0] != b"MGET":
            return [self]
        return [_Part((b"GET", key), self.place + n, self.slot) for n, key in enumerate(self.command[1:])]


@dataclass(slots=True, eq=False)
class _Question:
    """What was asked in one tick.

    Attributes:
        values: by place; `AWAY` until they are there.
        keys: how many of them, from the first, are answers to the MGET.
        under_way: how many nodes have not answered.
    """

    callback: Callback
    values: list[Any]
    keys: int
    under_way: int = 1

    def take(self, part: _Part, reply: Any) -> None:  # noqa: ANN401 - Redis has many types
        if part.command[0] == b"MGET":
            self.values[part.place : part.place + len(reply)] = reply
        else:
            self.values[part.place] = reply

    def done(self) -> None:
        """One node less; the last one brings the answer."""
        self.under_way -= 1
        if not self.under_way:
            values, keys = self.values, self.keys
            call_back(self.callback, [values[:keys], *values[keys:]] if keys else values)


class NodeLink(RedisLink):
    """The link to one master.

    Args:
        node: as redis-py knows it.
        timeout_s: how long an answer may take before the connection is given up.
        on_lost: called when the connection is.
    """

    def __init__(self, node: ClusterNode, timeout_s: float, on_lost: Callable[[], None]) -> None:
        super().__init__(partial(_connection_settings, node), timeout_s)
        self.name = node.name
        self.up = asyncio.Event()
        self._on_lost = on_lost

    def start(self) -> None:
        """Connect in the background, and keep connected."""
        self._keeper = asyncio.create_task(self._keep_connected())

    async def _until_lost(self) -> None:
        self.up.set()
        await super()._until_lost()

    def _outcome(self, replies: list[Any]) -> Replies:
        """Errors may be redirections, each of one command."""
        return replies

    def _give_up(self) -> None:
        self.up.clear()
        super()._give_up()
        self._on_lost()


class ClusterLink:
    """Asks each master for what is in its slots, and uses no reply of a node that may have been replaced.

    Args:
        redis: the client whose slot map and connection settings are used.
        timeout_s: how long an answer may take before a connection is given up.
    """

    def __init__(self, redis: ClusterClient, timeout_s: float) -> None:
        self._redis = redis
        self._timeout_s = timeout_s
        self._links: dict[str, NodeLink] = {}
        self._stale = asyncio.Event()
        self._tasks = BackgroundTasks()
        self._on_connected: Callable[[], None] = do_nothing

    @property
    def connected(self) -> bool:
        """Whether a master is connected, for some users at least."""
        return any(link.connected for link in self._links.values())

    def listen(self, on_connected: Callable[[], None]) -> None:
        """Call whenever there is a new connection to any master."""
        self._on_connected = on_connected

    async def open(self) -> None:
        """Connect for the first time, and keep trying in the background from then on."""
        with contextlib.suppress(*REDIS_FAULTS):
            async with asyncio.timeout(CONNECT_S):
                await self._redis.refresh()
                await self._redis.masters.renew()
                self._link_masters()
                await asyncio.gather(*(link.up.wait() for link in self._links.values()))
        if not self._is_whole():
            self._stale.set()
        self._tasks.start(self._keep_current())
        self._tasks.start(self._keep_leases())

    async def close(self) -> None:
        """Disconnect; questions under way are answered `None`."""
        await self._tasks.close()
        await asyncio.gather(*(link.close() for link in self._links.values()))
        self._links = {}

    def ask(self, commands: Sequence[Command], callback: Callback) -> None:
        """Send commands, in one write to each node that has keys of theirs.

        Args:
            commands: at least one; each has one key, in the second place, but an MGET, which may be the first and has
                three keys of one slot after another.
            callback: called once, maybe before this returns.
        """
        parts, keys, values = _split(commands)
        question = _Question(callback, [AWAY] * values, keys)
        self._send(question, parts, HOPS)
        question.done()

    def _send(self, question: _Question, parts: Iterable[_Part], hops: int) -> None:
        """Ask the owner of each slot; a part without an owner stays `AWAY`."""
        by_link: dict[NodeLink, list[_Part]] = {}
        for part in parts:
            link = self._link_of(part.slot)
            if link is None:
                self._stale.set()
            else:
                by_link.setdefault(link, []).append(part)
        question.under_way += len(by_link)
        for link, its in by_link.items():
            link.ask([part.command for part in its], partial(self._on_replies, link, question, its, hops))

    def _on_replies(self, link: NodeLink, question: _Question, parts: list[_Part], hops: int, replies: Replies) -> None:
        """A reply counts while its node is known to be a master; one that came too late is asked for once more."""
        if replies is None or self._redis.masters.believes(link.name):
            self._answered(question, parts, hops, replies)
            return
        if hops:
            question.under_way += 1
            self._tasks.start(self._ask_again(question, parts, hops - 1))
        self._answered(question, parts, hops, None)

    async def _ask_again(self, question: _Question, parts: list[_Part], hops: int) -> None:
        try:
            with contextlib.suppress(*REDIS_FAULTS, TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    await self._redis.masters.renew()
                    self._send(question, parts, hops)
        finally:
            question.done()

    def _answered(self, question: _Question, parts: list[_Part], hops: int, replies: Replies) -> None:
        refused: list[tuple[_Part, str]] = []
        for part, reply in zip(parts, replies or (), strict=False):
            if isinstance(reply, Exception):
                refused.append((part, str(reply)))
            else:
                question.take(part, reply)
        if refused and hops:
            question.under_way += 1
            self._tasks.start(self._follow_redirect(question, refused, hops - 1))
        question.done()

    # --- where what is --------------------------------------------------------------------------------------------

    def _link_of(self, slot: int) -> NodeLink | None:
        nodes = self._redis.nodes_manager.slots_cache.get(slot)
        return self._links.get(nodes[0].name) if nodes else None

    async def _follow_redirect(self, question: _Question, refused: list[tuple[_Part, str]], hops: int) -> None:
        """Ask again where the errors say, if that can be reached within the time of one answer."""
        try:
            with contextlib.suppress(*REDIS_FAULTS):
                async with asyncio.timeout(self._timeout_s):
                    await self._follow_slot(question, refused, hops)
        finally:
            question.done()

    async def _follow_slot(self, question: _Question, refused: list[tuple[_Part, str]], hops: int) -> None:
        again: list[_Part] = []
        elsewhere: dict[str, list[_Part]] = {}
        for part, error in refused:
            code, _, rest = error.partition(" ")
            if code == "MOVED" and part.slot in self._redis.nodes_manager.slots_cache:
                await self._redis.nodes_manager.move_slot(MovedError(rest))
                again.append(part)
            elif code == "ASK":
                target = AskError(rest)
                name = self._redis.importer(target.host, target.port).name
                elsewhere.setdefault(name, []).extend(part.singly())
            elif code == "TRYAGAIN":
                again.extend(part.singly())
            else:
                self._stale.set()
        self._link_masters()
        for link in {self._link_of(part.slot) for part in again} | {self._links.get(name) for name in elsewhere}:
            if link is not None:
                await link.up.wait()
        self._send(question, again, hops)
        for name, parts in elsewhere.items():
            self._ask_importer(self._links[name], question, parts, hops)

    def _ask_importer(self, link: NodeLink, question: _Question, parts: list[_Part], hops: int) -> None:
        """Ask a node for what is being moved to it; it answers only after ASKING."""
        question.under_way += 1

        def answered(replies: Replies) -> None:
            self._on_replies(link, question, parts, hops, replies[1::2] if replies else None)

        link.ask([command for part in parts for command in ((b"ASKING",), part.command)], answered)

    def _link_masters(self) -> None:
        """Have a link to each master that is known, and no other."""
        masters = {node.name: node for node in self._redis.get_primaries()}
        for name in self._links.keys() - masters.keys():
            self._tasks.start(self._links.pop(name).close())
        for name in masters.keys() - self._links.keys():
            link = self._links[name] = NodeLink(masters[name], self._timeout_s, self._stale.set)
            link.listen(self._on_connected)
            link.start()

    async def _keep_leases(self) -> None:
        while True:
            with contextlib.suppress(*REDIS_FAULTS):
                await self._redis.masters.renew()
            await asyncio.sleep(RENEW_S)

    async def _keep_current(self) -> None:
        """While anything seems to be out of place, look where it is."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            with contextlib.suppress(*REDIS_FAULTS):
                async with asyncio.timeout(CONNECT_S):
                    await self._redis.refresh()
            self._link_masters()
            await asyncio.sleep(REFRESH_S)
            if not self._is_whole():
                self._stale.set()

    def _is_whole(self) -> bool:
        return bool(self._links) and all(link.connected for link in self._links.values())


def _split(commands: Sequence[Command]) -> tuple[list[_Part], int, int]:
    """Commands with keys in one slot each; how many values belong to the MGET; how many there are in all."""
    parts: list[_Part] = []
    keys = place = 0
    for given in commands:
        command = given.words if isinstance(given, PackedCommand) else given
        if command[0] != b"MGET":
            parts.append(_Part(command, place, _slot_of(command[1])))
            place += 1
            continue
        for first in range(1, len(command), KEYS_OF_A_QUESTION):
            its = command[first : first + KEYS_OF_A_QUESTION]
            parts.append(_Part((b"MGET", *its), place, _slot_of(its[0])))
            place += len(its)
        keys = place
    return parts, keys, place


def _slot_of(key: bytes | str | int) -> int:
    assert isinstance(key, bytes), "admission's keys are bytes"  # noqa: S101 - tells mypy what `stores.layout` promises
    return key_slot(key)


def _connection_settings(node: ClusterNode) -> AbstractConnection:
    """A connection of redis-py's own kind, but none that its client counts and uses."""
    return node.connection_class(**node.connection_kwargs)
