"""The whole story over real sockets: two gateway nodes in processes of their own, one Redis, the real users service.

Each request goes to another node than the one before, on purpose.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from lockgate.clock import SystemClock
from lockgate_shop.users.accounts import Registration
from lockgate_shop.users.app import create_app
from lockgate_shop.users.settings import UsersSettings
from lockgate_trust import LinkKeys, Verified, verify
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Process
from tests.support.peers import CHEAP, NO_AUTHORITY, served
from tests.support.upstream import Upstream

pytestmark = pytest.mark.stack

PASSWORD = "correct-horse-battery"


@dataclass
class World:
    """One deployment.

    Attributes:
        orders: the service behind `/orders`, which records what reaches it.
        users_url: the real users service, as a program inside the network would reach it.
    """

    folder: Path
    redis_url: str
    orders: Upstream
    users_url: str

    @contextlib.contextmanager
    def node(self) -> Iterator[Process]:
        """One more gateway node, with the keys that the others have."""
        with nodes.process(self.folder, self.redis_url, self.orders.url, upstreams={"users": [self.users_url]}) as made:
            yield made

    def links(self, service: str) -> LinkKeys:
        return LinkKeys.load(self.folder / "keys" / "links", service)


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.delenv("REDIS_URL", raising=False)
    async with upstreams.running(upstreams.recorder()) as orders:
        with nodes.redis(tmp_path / "redis") as redis_url:
            nodes.settings(tmp_path, redis_url, orders.url)  # makes the keys
            links = LinkKeys.load(tmp_path / "keys" / "links", "users")
            settings = UsersSettings(database_url=f"sqlite:///{tmp_path / 'users.db'}")
            app = create_app(settings, links, SystemClock().now, CHEAP)
            async with app.router.lifespan_context(app), served(app) as users_url:
                for name in ("alice", "bob"):
                    await app.state.accounts.register_account(Registration(username=name, password=PASSWORD))
                yield World(tmp_path, redis_url, orders, users_url)


def _client(node: Process) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{node.port}", timeout=30, trust_env=False, verify=NO_AUTHORITY)


async def _login(http: httpx.AsyncClient, username: str = "alice") -> dict[str, Any]:
    answer = await http.post("/auth/login", json={"username": username, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


async def _refresh(http: httpx.AsyncClient, tokens: dict[str, Any]) -> httpx.Response:
    return await http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


async def _call(http: httpx.AsyncClient, tokens: dict[str, Any]) -> int:
    answer = await http.get("/orders", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    return answer.status_code


async def test_a_session_lives_on_every_node_and_dies_on_every_node_at_once(world: World) -> None:
    """R-149: log in on one, call on the second, refresh on the second, revoke on the first, refused on the second."""
    with world.node() as one, world.node() as two:
        async with _client(one) as first, _client(two) as second:
            tokens = await _login(first)
            assert await _call(second, tokens) == 200
            fresh = (await _refresh(second, tokens)).json()
            assert await _call(first, fresh) == 200
            seen = len(world.orders.requests)
            assert (await first.post("/auth/revoke", json={"token": fresh["access_token"]})).status_code == 200
            assert await _call(second, fresh) == 401
            assert await _call(first, fresh) == 401
            assert len(world.orders.requests) == seen
            last = (await _refresh(first, fresh)).json()
            assert await _call(second, last) == 200
            # Two nodes, one lost answer: the same successor.
            again = await _refresh(second, fresh)
            assert again.json()["refresh_token"] == last["refresh_token"]
            # The token of the login, long replaced: a thief has it.
            assert (await _refresh(second, tokens)).status_code == 400
            assert await _call(first, last) == 401
            assert (await _refresh(first, last)).status_code == 400


async def test_a_logout_everywhere_on_one_node_is_felt_on_the_other(world: World) -> None:
    """R-153: also by tokens of the same second."""
    with world.node() as one, world.node() as two:
        async with _client(one) as first, _client(two) as second:
            mine = [await _login(first), await _login(second)]
            bobs = await _login(first, "bob")
            bearer = {"Authorization": f"Bearer {mine[0]['access_token']}"}
            assert (await second.post("/auth/logout-all", headers=bearer)).status_code == 204
            for tokens in mine:
                assert await _call(first, tokens) == await _call(second, tokens) == 401
                assert (await _refresh(first, tokens)).status_code == 400
            assert await _call(second, bobs) == 200
            assert await _call(first, await _login(second)) == 200


@pytest.mark.fault
async def test_a_node_that_is_killed_logs_nobody_out(world: World) -> None:
    """In the middle of its work, too: each change that it had begun is made whole or not at all."""
    with world.node() as two:
        async with _client(two) as second:
            with world.node() as one:
                async with _client(one) as first:
                    tokens = await _login(first)
                    assert await _call(first, tokens) == 200
                    one.child.kill()  # SIGKILL
                    one.child.wait()
                    with pytest.raises(httpx.TransportError):
                        await _call(first, tokens)
            assert await _call(second, tokens) == 200
            fresh = (await _refresh(second, tokens)).json()
            with world.node() as three:
                async with _client(three) as third:
                    assert await _call(third, fresh) == 200
                    last = (await _refresh(third, fresh)).json()
                    assert await _call(second, last) == 200


SPELLINGS = [
    ("X-User-Id", "mallory"),
    ("x-user-id", "mallory"),
    ("X-USER-ID", "mallory"),
    ("X--User-Id", "mallory"),
    ("X-User--Id", "mallory"),
    ("X-User-Id-", "mallory"),
    ("X-User-Roles", "admin"),
    ("X-User-Scopes", "mallory"),
    ("X-Session-Id", "mallory"),
    ("X-Token-Id", "mallory"),
    ("X-Auth-Time", "0"),
    ("X-Caller", "mallory"),
    ("X-Request-Id", "mallory"),
    ("Signature", "lockgate=:bWFsbG9yeQ==:"),
    ("Signature-Input", 'lockgate=("@method");keyid="mallory"'),
    ("Content-Digest", "sha-256=:mallory:"),
    ("X-Forwarded-For", "mallory"),
    ("X-Forwarded-User", "mallory"),
    ("X-Real-Ip", "mallory"),
    ("X-Original-Url", "/mallory"),
]


@pytest.mark.parametrize("path", ["/orders", "/open/x", "/maybe/x"])
async def test_what_a_client_says_of_itself_never_reaches_a_service(world: World, path: str) -> None:
    """R-50 to R-57, R-60: in any spelling, with a token and without; what the service sees, the node has signed."""
    with world.node() as one:
        async with _client(one) as http:
            tokens = await _login(http)
            headers = [*SPELLINGS, ("Connection", "X-User-Id"), ("Authorization", f"Bearer {tokens['access_token']}")]
            assert (await http.get(path, headers=headers)).status_code == 200
    request = world.orders.requests[-1]
    assert b"mallory" not in request.raw
    assert request.values("authorization") == []
    assert request.values("x-user-roles") in ([], ["customer"])
    assert len(request.values("x-request-id")) == 1
    if path != "/open/x":
        assert request.values("x-session-id") == [tokens["session_id"]]
    seen = verify(
        world.links("orders"), method="GET", path=path, query="", headers=request.fields, now=SystemClock().now()
    )
    assert isinstance(seen, Verified)
    assert seen.origin == "gateway"
    assert seen.caller.session_id == (None if path == "/open/x" else tokens["session_id"])


@pytest.mark.parametrize("name", ["X_User_Id", "X.User.Id", "x_user-id"])
async def test_a_name_that_a_service_could_misread_is_dropped(world: World, name: str) -> None:
    """R-51, R-209: and the request goes on."""
    with world.node() as one:
        async with _client(one) as http:
            assert (await http.get("/open/x", headers={name: "mallory"})).status_code == 200
    (request,) = world.orders.requests
    assert b"mallory" not in request.raw
    assert name.lower() not in [field for field, _ in request.fields]


async def test_a_service_that_is_called_around_the_gateway_refuses(world: World) -> None:
    """R-62: with no signature, or with one that was made up, for each claimed identity."""
    claims = {"X-User-Id": "mallory", "X-User-Roles": "admin", "X-Request-Id": "0" * 32}
    made_up = {"Signature-Input": 'lockgate=("@method" "@path")', "Signature": "lockgate=:AAAA:"}
    async with httpx.AsyncClient(base_url=world.users_url, trust_env=False, verify=NO_AUTHORITY) as inside:
        for headers in ({}, claims, {**claims, **made_up}):
            for path in ("/users/me", "/internal/accounts/alice"):
                assert (await inside.get(path, headers=headers)).status_code == 401
        answer = await inside.post("/internal/credentials/verify", json={"username": "alice", "password": PASSWORD})
        assert answer.status_code == 401
