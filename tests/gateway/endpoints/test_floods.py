"""Floods of logins and refreshes: their effect on other users, and the state that they leave (R-122)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.accounts.users import LOOKUPS_AT_ONCE, MAX_WAITING, PASSWORDS_AT_ONCE
from lockgate.edge.own_call import OwnCall, Reply, Respond
from lockgate.settings import Settings
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.raw import WITHIN_S, Wire, until
from tests.support.shop_rig import Caller, Users, bearer, problem
from tests.support.store import time_passes_at
from tests.support.upstream import Upstream

VERIFY = "POST /internal/credentials/verify HTTP/1.1"
PLENTY = 1_000_000
UNGUARDED = {
    "account_attempts": PLENTY,
    "address_attempts": PLENTY,
    "all_attempts": PLENTY,
    "address_limit": PLENTY,
}
LOOK_UP = "GET /internal/accounts/"
FLOOD = 120
"""More than may be under way and wait."""


class SlowUsers(Users):
    """A users service that looks at no password and for no account before it is let go.

    Attributes:
        let_go: it looks at passwords.
        let_find: it looks for accounts.
        verifying: how many passwords it was asked about.
        finding: how many accounts it was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.let_go, self.let_find = asyncio.Event(), asyncio.Event()
        self.let_find.set()
        self.verifying = self.finding = 0

    def script(self) -> upstreams.Script:
        """As ever, but slower."""

        async def serve(upstream: Upstream, wire: Wire) -> None:
            while True:
                request = await wire.message()
                upstream.record(request)
                if request.line == VERIFY:
                    self.verifying += 1
                    await self.let_go.wait()
                elif request.line.startswith(LOOK_UP):
                    self.finding += 1
                    await self.let_find.wait()
                await wire.send(self._answer(request))

        return serve


@pytest_asyncio.fixture
async def users() -> SlowUsers:
    slow = SlowUsers()
    slow.let_go.set()
    return slow


@pytest_asyncio.fixture
async def caller(redis: Redis, redis_url: str, service: Upstream, tmp_path: Path) -> AsyncIterator[Caller]:
    """A client of a node that does not count attempts."""
    del redis
    # Longer than a test takes: what is under way must not end by itself.
    sections = {"login": UNGUARDED, "accounts": {"timeout_s": 60}}
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, **sections)) as node:
        yield Caller(node)


def raw(path: str, content: object) -> bytes:
    """A call as it goes on the wire."""
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\n{nodes.HOST}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def flooding(caller: Caller, count: int, path: str, content: object) -> list[Wire]:
    """So many clients that have asked the same."""
    wires = [await caller.node.connect() for _ in range(count)]
    for wire in wires:
        await wire.send(raw(path, content))
    return wires


GUESS = {"username": "bob", "password": "wrong"}


async def test_clients_that_hang_up_make_no_room_for_more_and_leave_nothing_behind(
    caller: Caller, users: SlowUsers, service: Upstream
) -> None:
    users.let_go.clear()
    for _ in range(3):
        wires = await flooding(caller, FLOOD, "/auth/login", GUESS)
        await until(lambda: users.verifying == PASSWORDS_AT_ONCE)
        for wire in wires:
            wire.reset()
        await until(lambda: not caller.node.worker.edge.connections)
        assert users.verifying == PASSWORDS_AT_ONCE
    users.let_go.set()
    assert (await caller.login())["access_token"]
    assert service.accepted <= PASSWORDS_AT_ONCE


async def test_refreshes_of_clients_that_hang_up_make_no_room_for_more_and_leave_nothing_behind(
    caller: Caller, users: SlowUsers, service: Upstream
) -> None:
    """R-122: the place of a look-up belongs to the look-up, however often its client comes back."""
    sessions = [await caller.login() for _ in range(2 * LOOKUPS_AT_ONCE)]
    users.let_find.clear()
    users.finding = 0
    connections = service.accepted
    for _ in range(2):
        wires = [await caller.node.connect() for _ in sessions]
        for wire, tokens in zip(wires, sessions, strict=True):
            await wire.send(raw("/auth/refresh", {"refresh_token": tokens["refresh_token"]}))
        await until(lambda: users.finding == LOOKUPS_AT_ONCE)
        for wire in wires:
            wire.reset()
        await until(lambda: not caller.node.worker.edge.connections)
        assert users.finding == LOOKUPS_AT_ONCE
    users.let_find.set()
    for tokens in sessions:
        answer = await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
        assert answer.status == 200
        assert await caller.welcome(answer.json["access_token"]) == 200
    # Each connection came back with its response, so none was opened for the refreshes after the flood.
    assert service.accepted <= connections + LOOKUPS_AT_ONCE + 1  # one of them for the forwarded requests


async def test_logins_that_wait_do_not_keep_anybody_from_going_on(caller: Caller, users: SlowUsers) -> None:
    tokens = await caller.login()
    users.let_go.clear()
    users.verifying = 0
    wires: list[Wire] = []
    for _ in range(2):
        wires += await flooding(caller, FLOOD // 2, "/auth/login", GUESS)
        for _ in range(3):  # behind all of them
            await caller.node.get("/auth/captcha")
    await until(lambda: users.verifying >= PASSWORDS_AT_ONCE)
    refreshed = await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert refreshed.status == 200
    assert await caller.welcome(refreshed.json["access_token"]) == 200
    users.let_go.set()
    for wire in wires:
        assert (await wire.message()).status in (400, 503)
        wire.close()
    assert (await caller.login())["access_token"]


async def test_a_login_for_which_there_is_no_room_is_refused_at_once_and_other_calls_go_on(
    caller: Caller, users: SlowUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = await caller.login()
    users.let_go.clear()
    users.verifying = 0
    worker = caller.node.worker
    # The flood has to be there all at once, however long a busy machine takes to bring it.
    worker.auth.accounts._passwords._queue._wait_s = WITHIN_S  # noqa: SLF001
    wires = await flooding(caller, PASSWORDS_AT_ONCE + MAX_WAITING, "/auth/login", GUESS)
    await until(lambda: worker.auth.accounts.room_for_passwords() == 0 and users.verifying == PASSWORDS_AT_ONCE)
    called = 0
    find = worker.calls.find

    def counting(method: str, path: str) -> Respond:
        respond = find(method, path)

        def respond_and_count(call: OwnCall) -> Reply | Coroutine[Any, Any, Reply]:
            nonlocal called
            called += 1
            return respond(call)

        return respond_and_count

    monkeypatch.setattr(worker.calls, "find", counting)
    answer = await caller.json("/auth/login", GUESS)
    problem(answer, 503, "accounts_unavailable")
    assert answer.value("retry-after") == "1"
    assert called == 0
    assert (await caller.node.get("/auth/me", bearer(tokens))).status == 200
    assert (await caller.node.get("/readyz")).json["checks"]["accounts"] == "warning: too many calls are waiting"
    assert users.verifying == PASSWORDS_AT_ONCE
    users.let_go.set()
    for wire in wires:
        assert (await wire.message()).status in (400, 503)
        wire.close()
    assert (await caller.login())["access_token"]


async def test_the_token_of_a_session_that_has_ended_costs_the_users_service_nothing(
    caller: Caller, service: Upstream
) -> None:
    tokens = await caller.login()
    await caller.post("/auth/logout", fields=bearer(tokens))
    service.requests.clear()
    answer = await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    problem(answer, 400, "invalid_grant")
    assert service.requests == []


async def test_whether_the_node_lives_is_told_before_those_who_came_earlier_are_answered(caller: Caller) -> None:
    tokens = await caller.login()
    await caller.post("/auth/logout", fields=bearer(tokens))
    wires = [await caller.node.connect() for _ in range(FLOOD)]
    watcher = await caller.node.connect()
    order: list[str] = []

    async def answered(wire: Wire, what: str) -> int:
        status = (await wire.message()).status
        order.append(what)
        return status

    # Written without a pause, so that all of it is there when the worker looks for the first time.
    for wire in wires:
        wire.write(raw("/auth/refresh", {"refresh_token": tokens["refresh_token"]}))
    watcher.write(f"GET /healthz HTTP/1.1\r\n{nodes.HOST}\r\n".encode())
    statuses = await asyncio.gather(*(answered(wire, "flood") for wire in wires), answered(watcher, "alive"))
    assert statuses == [400] * FLOOD + [200]
    assert order.index("alive") < FLOOD / 2
    for wire in (*wires, watcher):
        wire.close()


@pytest.fixture
def few(tmp_path: Path, redis_url: str, service: Upstream) -> Settings:
    """Three refreshes a minute."""
    return nodes.settings(tmp_path, redis_url, service.url, login={"refresh_limit": 3})


async def test_an_address_has_so_many_refreshes_and_tokens_in_a_minute(few: Settings, redis: Redis) -> None:
    #
    await redis.flushall()
    async with nodes.running(few) as node:
        caller = Caller(node)
        tokens = await caller.login()
        for _ in range(2):
            answer = await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
            assert answer.status == 200
            tokens = answer.json
        grant = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        tokens = (await caller.form("/auth/token", grant)).json
        for answer in (
            await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]}),
            await caller.form("/auth/token", {**grant, "refresh_token": tokens["refresh_token"]}),
        ):
            assert (answer.status, answer.code) == (429, "rate_limited")
            assert answer.value("ratelimit-policy") == '"refresh";q=3;w=60'
            assert answer.value("retry-after") == "20"
        # Nothing was done: the token is as good as before.
        await time_passes_at(redis, 20)
        answer = await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
        assert answer.status == 200


async def test_a_users_service_that_gives_no_answer_has_a_line_and_the_node_is_ready(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    await redis.flushall()
    with upstreams.nobody() as url:
        async with nodes.running(nodes.settings(tmp_path, redis_url, url)) as node:
            assert (await node.get("/readyz")).json["checks"]["accounts"] == "ok"
            problem(await Caller(node).json("/auth/login", GUESS), 503, "accounts_unavailable")
            ready = await node.get("/readyz")
    assert ready.status == 200
    assert ready.json["checks"]["accounts"] == "warning: cannot be reached"


async def test_the_line_goes_when_the_users_service_answers_again(caller: Caller, users: SlowUsers) -> None:
    caller.node.worker.auth.accounts.trouble = "cannot be reached"
    await caller.login()
    assert (await caller.node.get("/readyz")).json["checks"]["accounts"] == "ok"
    assert users.verifying == 1
