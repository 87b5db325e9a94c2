"""Absolute addresses come from the configuration, never from a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.settings import Settings
from tests.support import node as nodes
from tests.support.upstream import Upstream

LIES = (
    "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Port: 6666\r\n"
    "X-Forwarded-Prefix: /evil.example\r\nForwarded: host=evil.example;proto=https\r\nX-Original-Host: evil.example\r\n"
)
CALLS = (
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/jwks.json",
    "GET /openapi.json",
    "GET /auth/sessions",
    "GET /auth/sessions/",
    "GET /auth/me",
    "GET /auth/captcha",
    "POST /auth/captcha",
    "POST /auth/login",
    "POST /auth/tickets",
    "GET /readyz",
    "GET /nowhere",
    "GET /open",
)


@pytest.mark.parametrize("trusted", [[], ["127.0.0.0/8"]], ids=["a client", "a trusted proxy"])
@pytest.mark.parametrize("call", CALLS)
async def test_no_host_that_a_request_names_stands_in_an_address(
    redis_url: str, upstream: Upstream, tmp_path: Path, call: str, trusted: list[str]
) -> None:
    """R-226, R-77."""
    server = {"trusted_proxies": trusted, "openapi": "everybody", "forwarded_host": bool(trusted)}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, server=server)) as node:
        client = await node.connect()
        length = "Content-Length: 0\r\n" if call.startswith("POST") else ""
        await client.send(f"{call} HTTP/1.1\r\nHost: evil.example\r\n{LIES}{length}\r\n".encode())
        answer = await client.message()
        client.close()
    assert b"evil.example" not in answer.raw


async def test_the_metadata_has_the_public_address(redis_url: str, upstream: Upstream, tmp_path: Path) -> None:
    """R-226."""
    server = {"public_url": "https://api.example/base/"}
    token = {"issuer": "https://id.example"}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, server=server, token=token)) as node:
        told = (await node.get("/.well-known/oauth-authorization-server")).json
    assert told["issuer"] == "https://id.example"
    assert told["token_endpoint"] == "https://api.example/base/auth/token"
    assert told["jwks_uri"] == "https://api.example/base/.well-known/jwks.json"


def test_the_public_address_is_the_issuer_unless_it_is_given() -> None:
    """R-226."""
    assert Settings(token={"issuer": "https://id.example/"}).public_url == "https://id.example"  # type: ignore[arg-type]
