"""R-234: every outcome of the calls that the gateway answers itself stays what it was recorded as."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from fastapi import FastAPI
from redis.asyncio import Redis

from lockgate.accounts.captcha import digits
from lockgate.accounts.clients import Clients
from lockgate.endpoints import health
from lockgate.endpoints.calls import OwnCalls
from lockgate.sessions.session_store import SessionStore
from lockgate.stores.layout import AUDIT_STREAM
from tests.support import node as nodes
from tests.support import own_calls
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.own_calls import CASES, FROM_PAGE, GOOD, RECORDED, RECORDING, SECTIONS, SHUT_OUT, fill, hide
from tests.support.raw import Message, until
from tests.support.shop_rig import CREDENTIALS, Caller, Users
from tests.support.store import Store
from tests.support.upstream import Upstream

_REMOVED: Final = ("lg:login:*", "lg:allowance:*", AUDIT_STREAM)
_MINUTE_S: Final = 61


class Rig:
    """Nodes for the cases, one for each configuration, and the users service behind them."""

    def __init__(self, redis: Redis, users: Users, service: Upstream) -> None:
        self.redis = redis
        self.users = users
        self.service = service
        self.nodes: dict[str, Node] = {}

    async def begin(self, node: Node) -> dict[str, str]:
        """An empty Redis but for what is given out: tokens, a cookie, a client's secret."""
        await node.worker.auth.audit.flush()
        await self.redis.flushall()
        node.tick(_MINUTE_S)  # what a worker counts for each user begins anew
        caller = Caller(node)
        registered = await Clients(self.redis, node.clock).add("reports", ["orders:read", "orders:write"])
        assert registered is not None
        secret = registered[1]
        basic = base64.b64encode(f"reports:{secret}".encode()).decode()
        mine, ended = await caller.login(), await caller.login("bob")
        theirs = await caller.json("/auth/login", CREDENTIALS, fields=f"Authorization: Basic {basic}\r\n")
        cookie = ""
        if node.settings.server.session_cookie != "off":
            by_cookie = await caller.json("/auth/login", {**CREDENTIALS, "mode": "cookie"}, fields=FROM_PAGE)
            cookie = by_cookie.value("set-cookie").partition(";")[0].partition("=")[2]
        captcha = await node.worker.auth.captchas.create()
        assert (await caller.form("/auth/revoke", {"token": ended["refresh_token"]})).status == 200
        await node.worker.auth.audit.flush()
        for pattern in _REMOVED:
            async for key in self.redis.scan_iter(match=pattern):
                await self.redis.delete(key)
        self.service.requests.clear()
        return {
            "access": mine["access_token"],
            "refresh": mine["refresh_token"],
            "ended": ended["refresh_token"],
            "theirs": theirs.json["refresh_token"],
            "cookie": cookie,
            "captcha": captcha,
            "digits": digits(node.worker.base.secrets()[0], captcha),
            "secret": secret,
            "basic": basic,
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Shared: to begin a node for each case would take minutes."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Redis.from_url(redis_url))
        users = Users()
        service = await stack.enter_async_context(upstreams.running(users.script()))
        rig = Rig(redis, users, service)
        for sections in {json.dumps(case.sections): case.sections for case in CASES.values()}.values():
            folder = tmp_path_factory.mktemp("node")
            configured = nodes.settings(folder, redis_url, service.url, **{**SECTIONS, **sections})
            rig.nodes[json.dumps(sections)] = await stack.enter_async_context(nodes.running(configured))
        yield rig


@pytest.fixture(scope="module")
def recorded() -> Iterator[dict[str, Any]]:
    """The outcome of each case; written where they are recorded."""
    outcomes = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    yield outcomes
    if RECORDING:
        lines = (f"{json.dumps(name)}: {json.dumps(outcomes[name], sort_keys=True)}" for name in sorted(outcomes))
        RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", CASES)
async def test_the_outcome_is_the_recorded_one(
    name: str, recorded: dict[str, Any], rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-234: status, fields, body; what changed in Redis; what trail, log and metrics are told."""
    case = CASES[name]
    node = rig.nodes[json.dumps(case.sections)]
    given = await rig.begin(node)
    if case.account == SHUT_OUT:
        await SessionStore(rig.redis, node.settings.token, node.clock).shut_out("id-alice")
    before = await own_calls.stored(rig.redis)
    capsys.readouterr()
    rig.users.say("active" if case.account == SHUT_OUT else case.account)
    try:
        answers = [own_calls.shown(await _send(node, fill(request, given))) for request in case.requests]
    finally:
        rig.users.say("active")
    await node.worker.auth.audit.flush()
    node.worker.base.ticker.tick()
    outcome = {
        "responses": answers,
        "asked of the users service": [hide(request.line) for request in rig.service.requests],
        "log": own_calls.logged(capsys.readouterr().out),
        "changed in Redis": own_calls.changes(before, await own_calls.stored(rig.redis)),
        "trail": await own_calls.kept(rig.redis),
    }
    _compare(recorded, name, outcome)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_description_is_the_recorded_one(recorded: dict[str, Any], rig: Rig) -> None:
    """R-234: a client that was generated from the description goes on to work."""
    answer = await next(iter(rig.nodes.values())).get("/openapi.json")
    described = answer.json["paths"]
    _compare(recorded, "described", {path: described[path] for path in GOOD})


@pytest.mark.parametrize("prepared", [True, False])
def test_the_application_is_made_once_at_the_start_or_for_its_first_call(*, prepared: bool) -> None:
    made: list[FastAPI] = []

    def build_application() -> FastAPI:
        made.append(FastAPI())
        return made[-1]

    calls = OwnCalls((health.ALIVE_CALL,), build_application)
    if prepared:
        calls.prepare()
    calls.find("GET", health.ALIVE)
    assert len(made) == prepared
    assert calls.find("GET", "/auth/me") is calls.find("GET", "/admin/keys")
    assert len(made) == 1


@pytest.mark.process
@pytest.mark.parametrize("path", GOOD)
async def test_the_outcome_is_the_recorded_one_while_redis_is_away(
    path: str, recorded: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-234: at once, and the users service is not asked."""
    async with _with_own_store(tmp_path) as (rig, node, store):
        given = await rig.begin(node)
        store.kill()
        await until(lambda: not node.worker.base.link.connected)
        capsys.readouterr()
        answers = [own_calls.shown(await _send(node, fill(request, given))) for request in GOOD[path]]
        node.worker.base.ticker.tick()
        outcome = {"responses": answers, "log": own_calls.logged(capsys.readouterr().out)}
        assert rig.service.requests == []
    _compare(recorded, f"{path} while Redis is away", outcome)


@pytest.mark.process
@pytest.mark.parametrize("path", GOOD)
async def test_the_outcome_is_the_recorded_one_while_redis_is_full(
    path: str, recorded: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-234: what cannot be counted is not done."""
    async with _with_own_store(tmp_path) as (rig, node, store):
        given = await rig.begin(node)
        before = await own_calls.stored(rig.redis)
        async with store.full():
            capsys.readouterr()
            answers = [own_calls.shown(await _send(node, fill(request, given))) for request in GOOD[path]]
            node.worker.base.ticker.tick()
            outcome = {"responses": answers, "log": own_calls.logged(capsys.readouterr().out)}
        assert await own_calls.stored(rig.redis) == before
    _compare(recorded, f"{path} while Redis is full", outcome)


@pytest.mark.process
@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/token"])
async def test_a_client_that_goes_meanwhile_costs_its_session_nothing(
    path: str, recorded: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-234: the grant that the client sent is as good as it was."""
    async with _with_own_store(tmp_path) as (rig, node, _):
        given = await rig.begin(node)
        before = await own_calls.stored(rig.redis)
        capsys.readouterr()
        rig.users.silent = True
        client = await node.connect()
        await client.send(fill(GOOD[path][0], given))
        await until(lambda: bool(rig.service.requests))
        client.reset()
        await until(lambda: not node.worker.edge.connections)
        node.worker.base.ticker.tick()
        changed = own_calls.changes(before, await own_calls.stored(rig.redis))
        outcome = {"log": own_calls.logged(capsys.readouterr().out), "changed in Redis": changed}
    _compare(recorded, f"{path} given up", outcome)


@contextlib.asynccontextmanager
async def _with_own_store(folder: Path) -> AsyncIterator[tuple[Rig, Node, Store]]:
    store = Store(folder / "redis")
    await store.start()
    try:
        users = Users()
        async with store.client() as redis, upstreams.running(users.script()) as service:
            configured = nodes.settings(folder, store.url, service.url, **SECTIONS)
            async with nodes.running(configured) as node:
                yield Rig(redis, users, service), node, store
    finally:
        store.kill()


def _compare(recorded: dict[str, Any], name: str, outcome: dict[str, Any]) -> None:
    if RECORDING:
        recorded[name] = outcome
    assert outcome == recorded[name]


async def _send(node: Node, request: bytes) -> Message:
    client = await node.connect()
    try:
        await client.send(request)
        return await client.message(body=not request.startswith(b"HEAD "))
    finally:
        client.close()
