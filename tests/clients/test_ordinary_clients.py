"""Every common client, with its defaults, can log in, read the error of a refusal, and pass its proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.clients.conftest import Site
from tests.support.fronts import haproxy, nginx
from tests.support.programs import CLIENTS, statuses
from tests.support.shop_rig import CREDENTIALS, PASSWORD

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

LOGIN: Final = json.dumps(CREDENTIALS).encode()
WRONG: Final = json.dumps({**CREDENTIALS, "password": "not-" + PASSWORD}).encode()


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_with_its_defaults_logs_in(site: Site, client: str) -> None:
    """R-201: Java and `curl --http2` ask for an upgrade with a body, and get a response in HTTP/1.1."""
    (said,) = await CLIENTS[client](f"{site.url}/auth/login", LOGIN, 1, None)
    status, _, body = said.partition(" ")
    assert status == "200"
    token = json.loads(body)["access_token"]
    assert statuses(await CLIENTS[client](f"{site.url}/orders", b"{}", 1, f"Bearer {token}")) == ["200"]
    assert site.reached("/orders") == [b"{}"]


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_reads_why_it_was_refused(site: Site, client: str) -> None:
    """R-204: an old token beside a login is ignored, and the response is about the password."""
    (said,) = await CLIENTS[client](f"{site.url}/auth/login", WRONG, 1, "Bearer old.and.over")
    status, _, body = said.partition(" ")
    assert status == "400"
    assert json.loads(body)["code"] == "invalid_grant"


@pytest.mark.parametrize(
    ("check", "code"),
    [("option httpchk", "204"), ("option httpchk GET /healthz", "200"), ("option httpchk HEAD /healthz", "200")],
)
async def test_haproxy_finds_the_gateway_alive(site: Site, tmp_path: Path, check: str, code: str) -> None:
    """R-206, R-207: its checks are HTTP/1.0 without a Host."""
    async with haproxy(site.node.port, tmp_path, check) as (url, seen):
        assert seen == ["UP", "L7OK", code]
        (said,) = await CLIENTS["httpx"](f"{url}/orders", b"{}", 1, site.bearer())
    assert statuses([said]) == ["200"]
    assert site.reached("/orders") == [b"{}"]


@pytest.mark.parametrize("client", CLIENTS)
async def test_behind_nginx_with_its_defaults_a_client_logs_in(site: Site, tmp_path: Path, client: str) -> None:
    """R-201, R-206: nginx asks in HTTP/1.0 with its own Host."""
    async with nginx(site.node.port, tmp_path) as url:
        assert statuses(await CLIENTS[client](f"{url}/auth/login", LOGIN, 1, None)) == ["200"]


async def test_behind_nginx_what_two_readers_could_read_apart_is_still_refused(site: Site, tmp_path: Path) -> None:
    """R-208: nginx passes the target on as it came."""
    async with nginx(site.node.port, tmp_path) as url, httpx.AsyncClient(trust_env=False) as http:
        # A client library would take the dots out.
        for target in ("/open/%2e%2e/orders", "/open/%252e%252e/orders", "/open%5c..%5corders"):
            response = await http.send(http.build_request("GET", httpx.URL(url).copy_with(raw_path=target.encode())))
            assert response.status_code == httpx.codes.BAD_REQUEST, target
    assert site.service.requests == []
