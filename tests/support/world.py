"""A small deployment to tell stories about: people with devices, nodes, one Redis, the services behind.

    await alice.logs_in(on=first)
    await alice.refreshes(on=second)
    alice.answer_is_lost()
    await alice.is_let_in(on=third)

Nodes, Redis and the users service are real ones; behind `/orders` stands a service that tells the
identity of the caller. What people do stands in `tests.support.people`; what happens to nodes, store and time, here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from redis.asyncio import Redis

from lockgate.observe.audit import Event
from lockgate.stores.layout import UserKeys
from lockgate.stores.trail import AuditTrail
from lockgate_shop.users.accounts import Registration
from lockgate_shop.users.app import create_app
from lockgate_shop.users.models import AccountRecord, Role
from lockgate_shop.users.settings import UsersSettings
from lockgate_trust import LinkKeys
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.clock import ManualClock
from tests.support.peers import CHEAP, NO_AUTHORITY, served
from tests.support.people import PASSWORD, SOCKETS, Person, Place
from tests.support.raw import WITHIN_S, Wire
from tests.support.sockets import SocketService, socket_service
from tests.support.store import Store, time_passes_at
from tests.support.upstream import Script, Upstream

LATEST: Final = 100
"""Events of the audit trail that are looked at."""
_A_CONNECTION_EACH: Final = httpx.Limits(max_keepalive_connections=0)
"""A kept connection would not outlive the minutes that pass in a story, nor the node it leads to."""


@dataclass(eq=False)
class World:
    """One deployment.

    Attributes:
        alice, bob, ada: customers; ada is an administrator, too. No user is logged in.
        redis: a look into the store from outside.
        orders: the service behind `/orders`.
        sockets: the one behind `SOCKETS`.
        clock: that all go by unless something else is said; `None`: the machine's, and nodes are processes.
        sections: of every node's configuration.
    """

    folder: Path
    store: Store
    orders: Upstream
    sockets: SocketService
    clock: ManualClock | None
    sections: dict[str, Any]
    redis: Redis
    open: contextlib.AsyncExitStack
    places: list[Place] = field(default_factory=list)
    people: dict[str, Person] = field(default_factory=dict)

    @property
    def alice(self) -> Person:
        return self.people["alice"]

    @property
    def bob(self) -> Person:
        return self.people["bob"]

    @property
    def ada(self) -> Person:
        return self.people["ada"]

    async def node(self, *, ahead_s: float = 0, admission_timeout_s: float = WITHIN_S) -> Place:
        """One more node.

        Args:
            ahead_s: by how much its clock is ahead of the others', seconds; where clocks are set by hand.
            admission_timeout_s: as `nodes.running` takes it.
        """
        made: nodes.Node | nodes.Process
        if self.clock is None:
            running = nodes.process(self.folder, self.store.url, self.orders.url, **self.sections)
            # In a thread: it takes a second, in which the others go on.
            made = await asyncio.to_thread(self.open.enter_context, running)
        else:
            settings = nodes.settings(self.folder, self.store.url, self.orders.url, **self.sections)
            clock = ManualClock(self.clock.now() + ahead_s)
            running_here = nodes.running(settings, clock, admission_timeout_s=admission_timeout_s)
            made = await self.open.enter_async_context(running_here)
        url = f"http://127.0.0.1:{made.port}"
        http = httpx.AsyncClient(
            base_url=url, limits=_A_CONNECTION_EACH, timeout=2 * WITHIN_S, trust_env=False, verify=NO_AUTHORITY
        )
        place = Place(made, await self.open.enter_async_context(http))
        self.places.append(place)
        return place

    async def node_dies(self, place: Place) -> None:
        """SIGKILL, in the middle of its work."""
        assert isinstance(place.made_of, nodes.Process)
        self.places.remove(place)
        place.made_of.child.kill()
        await asyncio.to_thread(place.made_of.child.wait)

    async def time_passes(self, seconds: float) -> None:
        """For all nodes. (What Redis forgets after a while it does not forget sooner.)"""
        self.clocks_jump(seconds)
        await time_passes_at(self.redis, seconds)

    def clocks_jump(self, seconds: float) -> None:
        """All clocks are set at once, but that of Redis."""
        assert self.clock is not None
        self.clock.advance(seconds)
        for place in self.places:
            place.clock_jumps(seconds)

    async def stored(self, person: Person) -> dict[str, bytes | None]:
        """Everything that Redis holds about a user, but for the leases of sockets, which come and go."""
        sockets = UserKeys.of(person.sub).sockets
        return {key: await self.redis.dump(key) for key in await self._keys(person) if key != sockets}

    async def seen_from_outside(self, person: Person) -> object:
        """What no refused request may change."""
        return len(self.orders.requests), await self.stored(person)

    async def sessions_of(self, person: Person) -> dict[str, int]:
        """The live sessions of a user and the generation of each, after a look at what must hold for each of them."""
        keys = UserKeys.of(person.sub)
        epoch = int(await self.redis.get(keys.epoch) or 0)
        found: dict[str, int] = {}
        for key in await self._keys(person):
            if key.startswith(keys.session("")):
                sid, values = key.removeprefix(keys.session("")), await self.redis.hgetall(key)
                whole = {b"generation", b"epoch", b"created", b"rotated", b"used", b"ends", b"repeats", b"client_id"}
                assert whole <= set(values), "half a session"
                assert await self.redis.pttl(key) > 0, "a session for ever"
                if int(values[b"epoch"]) >= epoch:
                    assert await self.redis.zscore(keys.sessions, sid) is not None, "a session that nobody can list"
                    assert not await self.redis.exists(keys.ended(sid)), "a session that has ended and goes on"
                    found[sid] = int(values[b"generation"])
        return found

    async def audit_says(self, event: Event, person: Person) -> dict[str, str]:
        """Wait until the audit trail tells of an event; what it says of the latest one."""
        trail = AuditTrail(self.redis, length=0)
        async with asyncio.timeout(WITHIN_S):
            while True:
                for said in await trail.latest(LATEST):
                    if said["event"] == event and said.get("sub") == person.sub:
                        return said

    async def _keys(self, person: Person) -> list[str]:
        pattern = f"{UserKeys.of(person.sub).tag}:*"
        return sorted([key.decode() async for key in self.redis.scan_iter(match=pattern)])


@contextlib.asynccontextmanager
async def opened(folder: Path, clock: ManualClock | None = None) -> AsyncIterator[World]:
    """A world without nodes yet.

    Args:
        folder: for keys and databases.
        clock: as `World.clock`.
    """
    store = Store(folder / "redis")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(store.kill)
        await store.start()
        redis = await stack.enter_async_context(store.client())
        orders = await stack.enter_async_context(upstreams.running(mirror()))
        sockets = await stack.enter_async_context(socket_service())
        keys = nodes.settings(folder, store.url, orders.url).keys
        settings = UsersSettings(database_url=f"sqlite:///{folder / 'users.db'}")
        links = LinkKeys.load(keys.directory / "links", "users")
        app = create_app(settings, links, clock.now if clock else time.time, CHEAP)
        await stack.enter_async_context(app.router.lifespan_context(app))
        users = await stack.enter_async_context(served(app))
        live = {"name": "live", "prefix": SOCKETS, "upstreams": [sockets.url]}
        routes = [*nodes.routes(orders.url), {**live, "websocket": [SOCKETS]}]
        # Passwords are hashed in this process, behind everything else: a busy machine is no users service that is away.
        sections = {
            "accounts": {"timeout_s": WITHIN_S},
            "upstreams": {"users": [users]},
            "route": routes,
            "log": {"access": False},
            "login": {"refresh_limit": 1_000_000},  # clients refresh as fast as the machine can, from one address
        }
        world = World(folder, store, orders, sockets, clock, sections, redis, stack)
        for name in ("alice", "bob", "ada"):
            roles = (Role.CUSTOMER, Role.ADMIN) if name == "ada" else (Role.CUSTOMER,)
            account = await app.state.accounts.register_account(Registration(username=name, password=PASSWORD), roles)
            assert isinstance(account, AccountRecord)
            world.people[name] = Person(name, str(account.id), world.seen_from_outside)
        yield world


def mirror() -> Script:
    """A service that answers with the user and session it was told of."""

    async def script(upstream: Upstream, wire: Wire) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # it may wait for its next request as long as the story lasts
                request = await wire.message()
                upstream.record(request)
                told = {"user": request.value("x-user-id"), "session": request.value("x-session-id")}
                body = json.dumps(told).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                await wire.send(head.encode() + body)

    return script
