"""Services as the documentation shows them go on while their link keys are rotated (R-163, R-225)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from lockgate.keys.states import StepKind
from lockgate.keys.store import Group, KeyStore
from lockgate_trust import LinkKey, LinkKeys, signed_headers
from tests.support import examples
from tests.support import node as nodes
from tests.support.node import HOST
from tests.support.raw import WITHIN_S, Wire

pytestmark = [pytest.mark.fault, pytest.mark.slow]

KINDS: Final = ("fastapi", "asgi", "node", examples.README)
PUBLISH_S: Final = 3
KEPT_S: Final = 10 + 3 * 10 + PUBLISH_S
ENOUGH: Final = 100
"""Requests after each step, so that a gap of some milliseconds would be met."""


@dataclass
class Site:
    """A node, and the documented services behind it, each with a route of its own."""

    store: KeyStore
    links: Path
    port: int
    urls: dict[str, str]

    @property
    def link(self) -> Group:
        return next(group for group in self.store.links() if group.name == "gateway -> notes")

    @property
    def signing(self) -> LinkKey:
        """The key that the gateway's end signs with."""
        return LinkKeys.load(self.links, "gateway").outbound("notes")


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    links = tmp_path / "keys" / "links"
    sections: dict[str, Any] = {
        "keys": {"directory": str(tmp_path / "keys"), "publish_delay_s": PUBLISH_S},
        "log": {"access": False},
    }

    def routes(urls: dict[str, str]) -> list[dict[str, Any]]:
        shared = {"service": "notes", "auth": "public", "methods": ["GET"]}
        return [{**shared, "name": kind, "prefix": f"/notes/{kind}", "upstreams": [urls[kind]]} for kind in KINDS]

    nowhere = dict.fromkeys(KINDS, "http://127.0.0.1:1")
    settings = nodes.settings(tmp_path, "redis://unused", nowhere["asgi"], **sections, route=routes(nowhere))
    with contextlib.ExitStack() as stack:
        urls = {kind: stack.enter_context(examples.running(kind, links)) for kind in KINDS}
        redis_url = stack.enter_context(nodes.redis(tmp_path))
        running = nodes.process(tmp_path, redis_url, urls["asgi"], **sections, route=routes(urls))
        yield Site(KeyStore(settings), links, stack.enter_context(running).port, urls)


class Load:
    """Asks each service through the gateway, one request after the other.

    Attributes:
        seen: the statuses that each service's requests ended with.
    """

    def __init__(self, wires: dict[str, Wire]) -> None:
        self._wires = wires
        self.seen: dict[str, Counter[int]] = {kind: Counter() for kind in wires}

    async def once(self) -> None:
        """Send one request to each, at the same time."""
        await asyncio.gather(*(self._ask(kind) for kind in self._wires))

    async def lasts(self, seconds: float) -> None:
        """Ask for so long, and `ENOUGH` times."""
        until, least = time.monotonic() + seconds, 0
        async with asyncio.timeout(2 * WITHIN_S):
            while time.monotonic() < until or least < ENOUGH:
                await self.once()
                least += 1

    def close(self) -> None:
        """Hang up."""
        for wire in self._wires.values():
            wire.close()

    async def _ask(self, kind: str) -> None:
        await self._wires[kind].send(f"GET /notes/{kind} HTTP/1.1\r\n{HOST}\r\n".encode())
        self.seen[kind][(await self._wires[kind].message()).status] += 1


async def stepped(site: Site, load: Load, did: StepKind, later_s: float = 0) -> None:
    """Make the next step of the rotation as soon as it may be made, by a clock that is `later_s` ahead."""
    async with asyncio.timeout(2 * WITHIN_S):
        while site.store.rotate(site.link, time.time() + later_s).did is not did:
            await load.once()


async def test_services_of_the_documentation_go_on_while_their_link_keys_are_rotated(site: Site) -> None:
    """R-163, R-225."""
    load = Load({kind: await Wire.connect("127.0.0.1", site.port) for kind in KINDS})
    old = site.signing
    await stepped(site, load, StepKind.PUBLISHED)
    await stepped(site, load, StepKind.ACTIVATED)
    # By then every end has read the change, and every request that the old key has signed was served. So the test need
    # not wait for the half minute in which one still could be.
    await load.lasts(PUBLISH_S)
    await stepped(site, load, StepKind.RETIRED, KEPT_S)
    await load.lasts(PUBLISH_S)
    load.close()
    assert site.signing != old
    assert {kind: set(statuses) for kind, statuses in load.seen.items()} == {kind: {200} for kind in KINDS}
    # And what was rotated away is gone everywhere.
    assert {kind: await status_with(site, kind, site.signing) for kind in KINDS} == dict.fromkeys(KINDS, 200)
    assert {kind: await status_with(site, kind, old) for kind in KINDS} == dict.fromkeys(KINDS, 401)


async def status_with(site: Site, kind: str, key: LinkKey) -> int:
    """The status of the response of a service to a request signed with this key."""
    headers = signed_headers(
        key, method="GET", path=f"/notes/{kind}", headers=[("x-request-id", "request-1")], now=time.time()
    )
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    wire = await Wire.connect("127.0.0.1", int(site.urls[kind].rpartition(":")[2]))
    await wire.send(f"GET /notes/{kind} HTTP/1.1\r\n{HOST}{fields}\r\n".encode())
    answer = await wire.message()
    wire.close()
    return answer.status
