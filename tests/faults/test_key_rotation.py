"""Keys change under load, on two nodes that share nothing but the folder of keys and Redis: R-163, R-164."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from lockgate.clock import SystemClock
from lockgate.keys import keyring
from lockgate.keys.states import StepKind
from lockgate.keys.store import Group, KeyStore
from lockgate.settings import Settings
from lockgate_trust import LiveLinkKeys, SignatureRefused, verify
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import HOST
from tests.support.raw import Message, Wire
from tests.support.sockets import PATH, closed, socket_service
from tests.support.tokens import Tokens
from tests.support.upstream import Script, Upstream

pytestmark = [pytest.mark.stack, pytest.mark.fault, pytest.mark.slow]

PUBLISH_S: Final = 3
ROTATIONS: Final = 3
WITHIN_S: Final = 60
REMOVED_WITHIN_S: Final = 2.0
ACCOUNT: Final = {
    "sub": "alice",
    "username": "alice",
    "roles": ["customer"],
    "status": "active",
    "password_changed_at": "2026-01-01T00:00:00Z",
}
# One answer for all that the users service is asked.
ANSWER: Final = json.dumps({**ACCOUNT, "valid": True, "account": ACCOUNT}).encode()


def service(links: Path, refused: list[SignatureRefused]) -> Script:
    """A service that checks the signature of each request with its own keys, which follow their files."""
    keys = {name: LiveLinkKeys(links, name) for name in ("users", "orders")}

    async def script(upstream: Upstream, wire: Wire) -> None:
        del upstream
        while True:
            with contextlib.suppress(TimeoutError):
                request = await wire.message()
                method, target, _ = request.line.split(" ")
                outcome = verify(
                    keys["orders" if target.startswith("/orders") else "users"],
                    method=method,
                    path=target,
                    query="",
                    headers=request.fields,
                    now=time.time(),
                )
                if isinstance(outcome, SignatureRefused):
                    refused.append(outcome)
                await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))

    return script


class Client:
    """One connection to a node, one request after the other."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def get(self, bearer: str) -> int:
        await self._wire.send(f"GET /orders HTTP/1.1\r\n{HOST}{bearer}\r\n".encode())
        return (await self._wire.message()).status

    async def post(self, path: str, content: dict[str, str]) -> Message:
        body = json.dumps(content).encode()
        head = f"POST {path} HTTP/1.1\r\n{HOST}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await self._wire.send(head.encode() + body)
        return await self._wire.message()


@dataclass
class Site:
    """Two nodes, the services behind them, and the folder of keys."""

    settings: Settings
    store: KeyStore
    ports: tuple[int, int]
    refused: list[SignatureRefused]
    bearers: list[str] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)

    async def clients(self) -> list[Client]:
        """One for each node."""
        wires = [await Wire.connect("127.0.0.1", port) for port in self.ports]
        self.wires += wires
        return [Client(wire) for wire in wires]

    def sign(self) -> str:
        """A token by the key that is active on disk, at the very moment it is."""
        ring = keyring.load(self.settings.keys.directory)
        return Tokens(ring.active, self.settings.token, SystemClock()).bearer()


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    sections: dict[str, Any] = {
        "keys": {"directory": str(tmp_path / "keys"), "publish_delay_s": PUBLISH_S},
        "log": {"access": False},
        "login": {"refresh_limit": 1_000_000},  # one client refreshes as fast as the machine can
    }
    refused: list[SignatureRefused] = []
    settings = nodes.settings(tmp_path, "redis://unused", "http://127.0.0.1:1", **sections)
    async with upstreams.running(service(tmp_path / "keys" / "links", refused)) as upstream:
        with (
            nodes.redis(tmp_path) as redis_url,
            nodes.process(tmp_path, redis_url, upstream.url, **sections) as one,
            nodes.process(tmp_path, redis_url, upstream.url, **sections) as other,
        ):
            site = Site(settings, KeyStore(settings), (one.port, other.port), refused)
            yield site
            for wire in site.wires:
                wire.close()


async def load(site: Site, seen: Counter[int], over: asyncio.Event) -> None:
    """Ask both nodes with every token there is, until it is over."""
    clients = await site.clients()
    while not over.is_set():
        for bearer in list(site.bearers):
            seen.update(await asyncio.gather(*(client.get(bearer) for client in clients)))


async def session(site: Site, seen: Counter[int], over: asyncio.Event) -> None:
    """A user that logs in once and refreshes on one node after the other."""
    clients = await site.clients()
    answer = await clients[0].post("/auth/login", {"username": "alice", "password": "correct-horse-battery"})
    turn = 0
    while not over.is_set():
        assert answer.status == 200, answer.raw
        tokens = answer.json
        # The token goes to the node that did not issue it.
        turn += 1
        seen[await clients[turn % 2].get(f"Authorization: Bearer {tokens['access_token']}\r\n")] += 1
        answer = await clients[turn % 2].post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
        seen[answer.status] += 1


async def rotated(site: Site, *groups: Group) -> None:
    """Take groups through publishing and activation, by the shared clock, while requests go on."""
    (client, _), waiting = await site.clients(), set(range(len(groups)))
    async with asyncio.timeout(WITHIN_S):
        while waiting:
            waiting -= {n for n in waiting if site.store.rotate(groups[n], time.time()).did is StepKind.ACTIVATED}
            assert await client.get(site.bearers[0]) == 200


async def test_no_request_fails_while_every_kind_of_key_is_rotated_on_two_nodes(site: Site) -> None:
    """R-163."""
    seen: Counter[int] = Counter()
    over = asyncio.Event()
    signing, refresh = site.store.signing(), site.store.refresh()
    site.bearers.append(site.sign())
    async with asyncio.TaskGroup() as tasks:
        for task in (load, session):
            tasks.create_task(task(site, seen, over))
        for rotation in range(ROTATIONS):
            await rotated(site, signing, refresh, *(() if rotation else site.store.links()))
            # From here on either node may be behind, and this token is there already.
            site.bearers.append(site.sign())
        # One more delay, in which both see the last change.
        await rotated(site, signing)
        over.set()
    assert set(seen) == {200}
    assert site.refused == []
    ring = keyring.load(site.settings.keys.directory)
    assert (len(ring.verifying), len(ring.refresh_secrets)) == (1 + ROTATIONS + 1, 1 + ROTATIONS)
    # Enough that a gap of some milliseconds would have been met.
    assert seen.total() > 500, seen


async def test_what_a_removed_key_has_signed_is_refused_on_both_nodes_within_two_seconds(site: Site) -> None:
    """R-164."""
    bearer = site.sign()
    clients = await site.clients()
    assert [await client.get(bearer) for client in clients] == [200, 200]
    site.store.remove(keyring.load(site.settings.keys.directory).active.kid, time.time())
    removed = time.monotonic()
    taken = [await refused_after(client, bearer, removed) for client in clients]
    assert max(taken) < REMOVED_WITHIN_S, taken
    # And it stays so, while what the new key signs is taken.
    assert {await client.get(bearer) for client in clients for _ in range(10)} == {401}
    assert [await client.get(site.sign()) for client in clients] == [200, 200]


async def test_a_socket_ends_on_both_nodes_within_two_seconds_of_the_removal_of_its_key(tmp_path: Path) -> None:
    """R-164: what is open is no exception."""
    async with socket_service() as behind:
        route = {"name": "orders", "prefix": "/orders", "upstreams": [behind.url], "websocket": [PATH]}
        sections: dict[str, Any] = {"keys": {"directory": str(tmp_path / "keys")}, "route": [route]}
        with (
            nodes.redis(tmp_path) as redis_url,
            nodes.process(tmp_path, redis_url, behind.url, **sections) as one,
            nodes.process(tmp_path, redis_url, behind.url, **sections) as other,
        ):
            sockets = [await opened_by(one.tokens, node.port) for node in (one, other)]
            settings = nodes.settings(tmp_path, redis_url, behind.url, **sections)
            KeyStore(settings).remove(one.tokens.key.kid, time.time())
            removed = time.monotonic()
            assert await asyncio.gather(*(closed(socket) for socket in sockets)) == [(4403, "token revoked")] * 2
            assert time.monotonic() - removed < REMOVED_WITHIN_S


async def opened_by(tokens: Tokens, port: int) -> ClientConnection:
    """A socket through a node."""
    fields = {"Authorization": f"Bearer {tokens.token()}"}
    return await connect(
        f"ws://127.0.0.1:{port}{PATH}", additional_headers=fields, proxy=None, ping_interval=None, close_timeout=1
    )


async def refused_after(client: Client, bearer: str, since: float) -> float:
    """Seconds until a token is refused."""
    async with asyncio.timeout(WITHIN_S):
        while await client.get(bearer) != 401:
            pass
    return time.monotonic() - since
