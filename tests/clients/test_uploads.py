"""A client that uploads sees the 401 or 413 that was sent before its body was read: R-202."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.clients.conftest import BODY_BYTES, Site
from tests.support.fronts import nginx
from tests.support.programs import CLIENTS, statuses

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

MIB: Final = 2**20
OFTEN: Final = 20
READ_WHILE_SENDING: Final = sorted(set(CLIENTS) - {"urllib"})
"""The others send everything before they read, so what a limit leaves unread makes them lose the response."""


async def refused(site: Site, client: str, size: int, count: int, url: str | None = None) -> list[str]:
    said = await CLIENTS[client](f"{url or site.url}/orders", b"x" * size, count, None)
    assert site.reached("/orders") == [], "nothing of it reached the service"
    return statuses(said)


@pytest.mark.parametrize("client", CLIENTS)
async def test_an_upload_without_a_token_is_told_so(site: Site, client: str) -> None:
    """R-202."""
    assert await refused(site, client, 8 * MIB, 2) == ["401"] * 2


@pytest.mark.long
@pytest.mark.parametrize("client", CLIENTS)
async def test_an_upload_without_a_token_is_told_so_every_time(site: Site, client: str) -> None:
    """R-202."""
    assert await refused(site, client, 8 * MIB, OFTEN) == ["401"] * OFTEN


@pytest.mark.long
@pytest.mark.parametrize("client", READ_WHILE_SENDING)
async def test_an_upload_that_is_too_large_is_told_so_every_time(site: Site, client: str) -> None:
    """R-202: three times of what the route takes."""
    said = await CLIENTS[client](f"{site.url}/orders", b"x" * 30 * MIB, OFTEN, site.bearer())
    assert statuses(said) == ["413"] * OFTEN
    assert site.reached("/orders") == []


async def test_a_client_that_sends_before_it_reads_is_told_that_it_was_too_much(site: Site) -> None:
    """R-202: by urllib, somewhat beyond the limit."""
    said = await CLIENTS["urllib"](f"{site.url}/orders", b"x" * (BODY_BYTES + 1), 2, site.bearer())
    assert statuses(said) == ["413"] * 2
    assert site.reached("/orders") == []


async def test_behind_nginx_an_upload_without_a_token_is_told_so(site: Site, tmp_path: Path) -> None:
    """R-202: nginx with its defaults sends what it has buffered."""
    async with nginx(site.node.port, tmp_path) as url:
        said = await asyncio.gather(*(refused(site, "curl", 8 * MIB, 10, url) for _ in range(2)))
    assert said == [["401"] * 10] * 2


@pytest.mark.parametrize("client", CLIENTS)
async def test_an_upload_that_may_come_arrives_whole(site: Site, client: str) -> None:
    """R-201, R-202: for each protocol that the client asks to upgrade to."""
    body = bytes(range(256)) * 4 * 1024
    said = await CLIENTS[client](f"{site.url}/orders", body, 2, site.bearer())
    assert statuses(said) == ["200"] * 2
    assert site.reached("/orders") == [body] * 2
