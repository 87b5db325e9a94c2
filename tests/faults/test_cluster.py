"""A master of a Cluster that is lost: its users get 503 until a replica takes over, and other users notice nothing.

R-150, R-152: never 401, never a silent 200, and a revoked token stays revoked.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import node as nodes
from tests.support import redis_groups
from tests.support import upstream as upstreams
from tests.support.raw import Message, Wire
from tests.support.redis_groups import DOWN_AFTER_MS, Cluster, stopped
from tests.support.shop_rig import PASSWORD, Caller, Users

pytestmark = pytest.mark.fault

OUTAGE_S = 15
ANSWER_S = 1.0
"""How long admission waits for an answer; servers share a busy machine with this test."""
PATIENT = {"keep_alive_s": 120}
LOST = 1
"""Which master is lost."""


@pytest_asyncio.fixture
async def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.delenv("REDIS_URL", raising=False)
    async with redis_groups.cluster(tmp_path, replicas=True) as running:
        yield running


@pytest.fixture
def names(group: Cluster) -> list[str]:
    """A user at each of the three masters."""
    return [group.user_at(number, "id-user").removeprefix("id-") for number in range(3)]


@pytest_asyncio.fixture
async def caller(group: Cluster, names: list[str], tmp_path: Path) -> AsyncIterator[Caller]:
    users = Users({f"id-{name}": "active" for name in [*names, "mallory"]})
    async with upstreams.running(users.script()) as service:
        settings = nodes.settings(tmp_path, group.url, service.url, store={"wait_replicas": 1})
        async with nodes.running(settings, admission_timeout_s=ANSWER_S) as node:
            yield Caller(node)


async def confirmed(caller: Caller, path: str, content: dict[str, str]) -> Message:
    """Ask until the response is no 503 any more: a returning server takes a while to learn that it is a replica."""
    async with asyncio.timeout(OUTAGE_S):
        while (answer := await caller.json(path, content)).status == 503:
            pass
    return answer


async def test_a_killed_master_takes_answers_from_its_own_users_only(
    group: Cluster, caller: Caller, names: list[str]
) -> None:
    accesses = [(await caller.login(name))["access_token"] for name in names]
    stolen, refresh = await caller.login(names[LOST]), await caller.login(names[LOST])
    assert (await caller.json("/auth/revoke", {"token": stolen["access_token"]})).status == 200
    assert [await caller.welcome(access) for access in accesses] == [200] * 3
    loop = asyncio.get_running_loop()
    begun = loop.time()
    group.masters[LOST].kill()
    answered: list[list[int]] = []
    async with asyncio.timeout(OUTAGE_S):
        while not answered or answered[-1][LOST] != 200:
            answered.append(await asyncio.gather(*map(caller.welcome, accesses)))
    outage_s = loop.time() - begun
    print(f"served again after {outage_s:.2f} s")  # noqa: T201 - shown by pytest -rP
    assert outage_s > DOWN_AFTER_MS / 1000
    assert {statuses[LOST] for statuses in answered[:-1]} == {503}
    assert {status for statuses in answered for place, status in enumerate(statuses) if place != LOST} == {200}
    assert await caller.welcome(stolen["access_token"]) == 401
    # There is no replica to confirm anything, until the one that was lost comes back as one.
    refused = await caller.json("/auth/refresh", {"refresh_token": refresh["refresh_token"]})
    assert refused.status == 503
    group.masters[LOST].start()
    again = {"username": names[LOST], "password": PASSWORD}
    assert (await confirmed(caller, "/auth/refresh", {"refresh_token": refresh["refresh_token"]})).status == 200
    assert (await confirmed(caller, "/auth/login", again)).status == 200


async def test_a_frozen_master_that_comes_back_judges_nobody(group: Cluster, caller: Caller, names: list[str]) -> None:
    access = (await caller.login(names[LOST]))["access_token"]
    assert await caller.welcome(access) == 200
    with stopped(group.masters[LOST]):
        assert await caller.welcome(access) == 503
        async with asyncio.timeout(OUTAGE_S):
            while await caller.welcome(access) == 503:
                pass
            # Written, and not confirmed: there is no other replica.
            assert (await caller.json("/auth/revoke", {"token": access})).status == 503
        assert await caller.welcome(access) == 401
    for _ in range(50):
        assert await caller.welcome(access) in {401, 503}


async def status_of(client: Wire, token: str, line: str = "GET /orders", body: bytes = b"") -> int:
    """Ask on one connection."""
    await client.send(asking(token, line, body))
    return (await client.message()).status


def asking(token: str, line: str = "GET /orders", body: bytes = b"") -> bytes:
    kind = "Content-Type: application/x-www-form-urlencoded\r\n" if body else ""
    fields = f"Host: shop.example\r\nAuthorization: Bearer {token}\r\n{kind}Content-Length: {len(body)}\r\n"
    return f"{line} HTTP/1.1\r\n{fields}\r\n".encode() + body


async def test_a_gateway_and_a_master_that_wake_up_together_accept_nothing_that_was_ended_meanwhile(
    group: Cluster, names: list[str], tmp_path: Path
) -> None:
    """R-220: it still has its connection to that master, which answers before it hears that it was replaced."""
    async with upstreams.running(Users().script()) as service, AsyncExitStack() as stack:
        here, there = [
            await asyncio.to_thread(
                stack.enter_context,
                nodes.process(tmp_path, group.url, service.url, admission_timeout_s=ANSWER_S, limits=PATIENT),
            )
            for _ in range(2)
        ]
        token = here.tokens.bearer(sub=f"id-{names[LOST]}").split()[-1]
        awake, asleep = await here.connect(), await there.connect()
        assert [await status_of(client, token) for client in (awake, asleep)] == [200, 200]
        there.child.send_signal(signal.SIGSTOP)
        with stopped(group.masters[LOST]):
            async with asyncio.timeout(OUTAGE_S):
                while await status_of(awake, token) != 200:
                    pass
                while await status_of(awake, token, "POST /auth/revoke", f"token={token}".encode()) != 200:
                    pass
            await asleep.send(asking(token))
        there.child.send_signal(signal.SIGCONT)
        assert (await asleep.message()).status in {401, 503}
        assert {await status_of(asleep, token) for _ in range(50)} <= {401, 503}
        for client in (awake, asleep):
            client.close()
