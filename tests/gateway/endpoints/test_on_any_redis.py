"""Everything a user does, on a Redis Cluster, wherever in it their keys are; and on each kind of store as a user of
Redis that may do no more than docs/guides/redis.md says."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from lockgate.accounts.captcha import digits
from lockgate.accounts.clients import Clients
from lockgate.errors import Reason, Refusal
from lockgate.keys import keyring
from lockgate.sessions.session_store import SessionStore
from lockgate.stores.layout import KEYS_LOCK, KEYS_LOCK_MS
from lockgate.stores.lock import try_lock
from tests.conftest import enter, leave
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.admission import WITHIN_S, claims
from tests.support.redis_groups import Cluster, Server, sentinel_group
from tests.support.redis_server import EXACT, HARDENED, running
from tests.support.shop_rig import Caller, Users, bearer

pytestmark = pytest.mark.process

FREE = 5
"""Failures before a captcha is asked for."""


KINDS: Final = (
    "a Cluster",
    *(f"{store}, {user}" for store in ("a Cluster", "one server", "Sentinels") for user in ("hardened", "exact")),
)
USERS: Final = {"hardened": HARDENED, "exact": EXACT}


@dataclass(frozen=True)
class Kind:
    """A store to run on.

    Attributes:
        servers: to be emptied before each test.
        names: of users; of a Cluster, one at each master.
        wait_replicas: as in the settings.
    """

    url: str
    servers: Sequence[Server]
    names: list[str]
    wait_replicas: int = 0

    async def restricted(self, rules: Sequence[str]) -> Kind:
        """The same for a user that may do no more than the guide says."""
        for server in self.servers:
            await server.ask("ACL", "SETUSER", "gateway", "reset", "on", ">hunter2", *rules)
        return replace(self, url=re.sub(r"//(?:[^/@]*@)?", "//gateway:hunter2@", self.url, count=1))


@contextlib.asynccontextmanager
async def one_server(folder: Path) -> AsyncIterator[Kind]:
    with running(folder / "one") as server:
        place = Server(folder, int(server.place.rpartition(":")[2]), ())
        yield Kind(f"redis://{server.place}", [place], ["ann", "ben"])


@contextlib.asynccontextmanager
async def behind_sentinels(folder: Path) -> AsyncIterator[Kind]:
    async with sentinel_group(folder) as group:
        yield Kind(group.url, group.servers, ["ann", "ben"], wait_replicas=1)


@pytest.fixture(scope="module", params=KINDS)
def kind(
    request: pytest.FixtureRequest, redis_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kind]:
    """Each of the stores, all but the first as a user of docs/guides/redis.md (R-214)."""
    folder = tmp_path_factory.mktemp("store")
    with asyncio.Runner() as runner:
        store, _, user = request.param.partition(", ")
        if store == "a Cluster":
            # A user at each of the three masters.
            users = [redis_cluster.user_at(number, "id-user").removeprefix("id-") for number in range(3)]
            made = Kind(redis_cluster.url, redis_cluster.masters, users)
            yield runner.run(made.restricted(USERS[user])) if user else made
            return
        opening = behind_sentinels(folder) if store == "Sentinels" else one_server(folder)
        yield runner.run(runner.run(enter(opening)).restricted(USERS[user]))
        runner.run(leave(opening))


@pytest.fixture
def names(kind: Kind) -> list[str]:
    """The users that may log in."""
    return kind.names


@pytest_asyncio.fixture
async def caller(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Caller]:
    """A client of a node on an empty store."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    masters = [server for server in kind.servers if (await server.ask("ROLE"))[0] == b"master"]
    for server in masters:
        await server.ask("FLUSHALL")
    users = Users({f"id-{name}": "active" for name in kind.names})
    async with upstreams.running(users.script()) as service:
        route = [{**nodes.routes(service.url)[3], "rate": ["50/min per user", "200/min per route"]}]
        store = {"wait_replicas": kind.wait_replicas}
        settings = nodes.settings(tmp_path, kind.url, service.url, route=route, store=store)
        async with nodes.running(settings) as node:
            yield Caller(node)


async def test_users_at_every_master_log_in_go_on_and_end(caller: Caller, names: list[str]) -> None:
    for name in names:
        tokens, other = await caller.login(name), await caller.login(name)
        assert await caller.welcome(tokens["access_token"]) == 200
        refreshed = await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
        assert refreshed.status == 200
        listed = await caller.node.get("/auth/sessions", bearer(refreshed.json))
        assert len(listed.json["sessions"]) == 2
        assert (await caller.json("/auth/revoke", {"token": tokens["access_token"]})).status == 200
        assert await caller.welcome(tokens["access_token"]) == 401
        assert await caller.welcome(refreshed.json["access_token"]) == 200
        assert (await caller.post("/auth/logout", media=None, fields=bearer(refreshed.json))).status == 204
        assert await caller.welcome(refreshed.json["access_token"]) == 401
        assert await caller.welcome(other["access_token"]) == 200
        assert (await caller.post("/auth/logout-all", media=None, fields=bearer(other))).status == 204
        assert await caller.welcome(other["access_token"]) == 401


async def test_a_stolen_refresh_token_ends_its_session(caller: Caller, names: list[str]) -> None:
    for name in names:
        tokens = await caller.login(name)
        for _ in range(2):
            tokens = (await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]})).json | {
                "stolen": tokens["refresh_token"],
                "older": tokens.get("stolen"),
            }
        assert (await caller.json("/auth/refresh", {"refresh_token": tokens["older"]})).status == 400
        assert await caller.welcome(tokens["access_token"]) == 401


async def test_a_ticket_is_good_once(caller: Caller, names: list[str]) -> None:
    for name in names:
        tokens = await caller.login(name)
        answer = await caller.post("/auth/tickets", media=None, fields=bearer(tokens))
        redeem = caller.node.worker.auth.tickets.redeem
        assert await redeem(answer.json["ticket"]) == tokens["access_token"].encode()
        assert await redeem(answer.json["ticket"]) is None


async def test_guesses_are_counted_and_a_captcha_lets_the_right_password_in(caller: Caller, names: list[str]) -> None:
    """R-123: one atomic step over the counters of account, address and all, which share a hash tag."""
    guess = {"username": names[0], "password": "wrong-password"}
    answers = [(await caller.json("/auth/login", guess)).json["code"] for _ in range(FREE + 1)]
    assert answers == ["invalid_grant"] * FREE + ["captcha_required"]
    captcha = (await caller.node.get("/auth/captcha")).json["id"]
    secret = keyring.load(caller.node.settings.keys.directory).refresh_secrets[0]
    right = {"username": names[0], "password": "correct-horse-battery"}
    solved = {**right, "captcha": {"id": captcha, "answer": digits(secret, captcha)}}
    assert (await caller.json("/auth/login", right)).json["code"] == "captcha_required"
    assert (await caller.json("/auth/login", solved)).status == 200
    assert (await caller.json("/auth/login", solved)).json["code"] == "captcha_required"


async def test_a_limit_holds(caller: Caller, names: list[str]) -> None:
    access = (await caller.login(names[0]))["access_token"]
    statuses = [await caller.welcome(access) for _ in range(51)]
    assert statuses == [200] * 50 + [429]


async def test_what_is_open_ends_with_its_session_wherever_that_was_ended(caller: Caller, names: list[str]) -> None:
    """A message reaches the subscriber at whichever master it listens."""
    node = caller.node
    session_store = SessionStore(node.worker.base.redis, node.settings.token, node.clock)
    for name in names:
        ended: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()
        open_one = claims(f"id-{name}", "of-a-socket")
        node.worker.path.open_tokens.watch(open_one, ended.set_result)
        await session_store.block_token(f"id-{name}", "of-a-socket", open_one.exp)
        async with asyncio.timeout(WITHIN_S):
            assert (await ended).reason is Reason.TOKEN_REVOKED


async def test_what_has_one_key_for_all_works_too(caller: Caller, names: list[str]) -> None:
    """The audit trail, the lock of the keys, the clients, and the policy of every node."""
    worker = caller.node.worker
    await caller.login(names[0])
    await worker.auth.audit.flush()
    assert [entry["event"] for entry in await worker.auth.trail.latest(5)] == ["login"]
    async with (
        try_lock(worker.base.redis, KEYS_LOCK, KEYS_LOCK_MS) as first,
        try_lock(worker.base.redis, KEYS_LOCK, KEYS_LOCK_MS) as second,
    ):
        assert (first, second) == (True, False)
    clients = Clients(worker.base.redis, caller.node.clock)
    await clients.add("reports", ())
    assert [client.client_id for client in await clients.all()] == ["reports"]
    assert await clients.exists("reports")
    assert await clients.remove("reports")
    session_store = SessionStore(worker.base.redis, caller.node.settings.token, caller.node.clock)
    await session_store.end_made_by("lockgate-login")
    lease = await worker.path.sockets.leases.take_lease(f"id-{names[0]}")
    assert lease is not None
    assert (await caller.node.get("/readyz")).status == 200
