"""Pages of listed origins may read responses, refusals too; the gateway alone says so (R-182)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockgate.policy.origins import EXPOSED
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.pages import EVIL, LISTED, SHOP, Page, forwarded
from tests.support.raw import Message
from tests.support.upstream import Upstream

ASKED = "Access-Control-Request-Method: POST\r\n"
ASKING = f"{LISTED}Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n"


def readable(answer: Message) -> bool:
    """Whether a page of `SHOP` may read an answer, by the rules that browsers follow with credentials."""
    origins = answer.values("access-control-allow-origin")
    credentials = answer.values("access-control-allow-credentials")
    assert "*" not in origins
    assert "Origin" in answer.values("vary")
    return origins == [SHOP] and credentials == ["true"]


def silent(answer: Message) -> bool:
    return not any(name.startswith("access-control") for name, _ in answer.fields)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /open HTTP/1.1\r\n", 200),
        ("GET /auth/captcha HTTP/1.1\r\n", 200),
        ("GET /orders HTTP/1.1\r\n", 401),
        ("GET /auth/me HTTP/1.1\r\n", 401),
        ("GET /orders HTTP/1.1\r\nAuthorization: Bearer a.b.c\r\n", 401),
        ("GET /orders HTTP/1.1\r\nCookie: __Host-lockgate=lgc_x\r\n", 401),
        ("GET /nowhere HTTP/1.1\r\n", 404),
        ("GET /auth/nowhere HTTP/1.1\r\n", 404),
        ("TRACE /open HTTP/1.1\r\n", 405),
        ("POST /auth/login HTTP/1.1\r\nContent-Length: 99999\r\n", 413),
        ("POST /open HTTP/1.1\r\nContent-Length: 99999999\r\n", 413),
        ("POST /auth/login HTTP/1.1\r\nContent-Type: text/plain\r\n", 415),
    ],
)
async def test_a_page_can_read_why_it_was_refused(node: Node, head: str, status: int) -> None:
    answer = await node.ask(head + LISTED)
    assert answer.status == status
    assert readable(answer)
    assert "Retry-After" in answer.value("access-control-expose-headers")
    for fields in (EVIL, ""):
        told = await node.ask(head + fields)
        assert told.status == status
        assert silent(told)
        assert told.values("vary")[0] == "Origin"


async def test_what_a_service_says_of_origins_is_replaced(node: Node, upstream: Upstream, service: Upstream) -> None:
    """Two answers to one question would be refused by the browser, and `*` would be wrong."""
    del upstream
    fields = b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: *\r\nVary: Accept-Encoding\r\n"
    service.play(upstreams.recorder(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok"))
    answer = await node.ask(f"GET /open HTTP/1.1\r\n{LISTED}")
    assert readable(answer)
    assert answer.values("vary") == ["Accept-Encoding", "Origin"]
    assert silent(await node.ask(f"GET /open HTTP/1.1\r\n{EVIL}"))


@pytest.mark.parametrize(
    ("said", "exposed"),
    [
        (b"X-A , x-b\r\nAccess-Control-Expose-Headers: X-C", "x-a, x-b, x-c"),
        (b"Set-Cookie, authorization, x-user-id, SET-COOKIE2, a b, x-ok", "x-ok"),
        # With credentials, browsers take `*` for the name of a field.
        (b"*\r\nX-Total-Count: 3\r\nSet-Cookie: a=b", "x-total-count, content-length"),
    ],
)
async def test_what_a_service_lets_pages_read_is_added_for_listed_pages(
    node: Node, service: Upstream, said: bytes, exposed: str
) -> None:
    """R-210: but no credentials, and no identity."""
    line = b"Access-Control-Expose-Headers: " + said
    service.play(upstreams.recorder(b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 2\r\n\r\nok"))
    answer = await node.ask(f"GET /open HTTP/1.1\r\n{LISTED}")
    assert readable(answer)
    assert answer.values("access-control-expose-headers") == [", ".join(EXPOSED), exposed]
    for fields in (EVIL, ""):
        assert silent(await node.ask(f"GET /open HTTP/1.1\r\n{fields}"))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /a%00 HTTP/1.1\r\n", 400),
        ("GET /orders/%2e%2e/x HTTP/1.1\r\nAuthorization: Bearer a.b.c\r\n", 400),
        ("POST /open HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
        (f"GET /{'a' * 9000} HTTP/1.1\r\n", 414),
        ("GET /open HTTP/1.1\r\nExpect: nonsense\r\n", 417),
        (f"GET /open HTTP/1.1\r\nX-Long: {'a' * 20_000}\r\n", 431),
    ],
)
async def test_a_page_can_read_why_its_head_was_refused(node: Node, service: Upstream, head: str, status: int) -> None:
    """R-208: otherwise it could not tell a path that is not acceptable from the gateway's being away."""
    before = len(service.requests)
    answer = await node.ask(head + LISTED)
    assert (answer.status, answer.value("connection")) == (status, "close")
    assert readable(answer)
    for fields in (EVIL, "", LISTED + LISTED):
        assert silent(await node.ask(head + fields))
    assert len(service.requests) == before


@pytest.mark.parametrize("path", ["/a%00", "/orders/%2e%2e/x", f"/{'a' * 9000}"])
async def test_a_preflight_for_a_target_that_is_refused_lets_the_page_ask_and_read_why(node: Node, path: str) -> None:
    """R-208: the connection ends all the same, so that what follows is no request."""
    client = await node.connect()
    await client.send(
        f"OPTIONS {path} HTTP/1.1\r\nHost: gate.example\r\n{ASKING}\r\nGET /open HTTP/1.1\r\n\r\n".encode()
    )
    answer = await client.message()
    assert (answer.status, answer.value("connection")) == (204, "close")
    assert readable(answer)
    assert answer.value("access-control-allow-headers") == "content-type"
    assert await client.rest() == b""
    client.close()
    refused = await node.ask(f"OPTIONS {path} HTTP/1.1\r\n{ASKING.replace(SHOP, 'https://evil.example')}")
    assert refused.status in (400, 414)
    assert silent(refused)


@pytest.mark.parametrize(
    ("head", "reason", "origin"),
    [
        (
            f"OPTIONS /open HTTP/1.1\r\n{EVIL}Access-Control-Request-Method: POST\r\n",
            "origin_refused",
            "https://evil.example",
        ),
        (
            'OPTIONS /open HTTP/1.1\r\nOrigin: a"b\\\r\nAccess-Control-Request-Method: GET\r\n',
            "origin_refused",
            'a"b\\',
        ),
        ("GET /orders HTTP/1.1\r\nOrigin: https://evil.example\r\n", "no_credentials", None),
        ("GET /auth/me HTTP/1.1\r\n", "no_credentials", None),
        ("POST /auth/login HTTP/1.1\r\nContent-Type: text/plain\r\n", "unsupported_media", None),
        ("GET /auth/nowhere HTTP/1.1\r\n", "no_route", None),
    ],
)
async def test_the_log_says_why_and_names_the_origin_that_was_refused(
    node: Node, capsys: pytest.CaptureFixture[str], head: str, reason: str, origin: str | None
) -> None:
    """The client is told neither more nor less; calls that the gateway answers itself are no exception."""
    capsys.readouterr()
    answer = await node.ask(head)
    assert answer.status >= 400
    assert "evil" not in answer.raw.decode()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (said,) = [line for line in lines if line.get("event") == "request"]
    assert (said["reason"], said.get("origin")) == (reason, origin)


@pytest.mark.parametrize("path", ["/orders/1", "/open", "/auth/login", "/auth/nowhere"])
async def test_a_preflight_is_answered_by_the_gateway_without_credentials(
    node: Node, service: Upstream, path: str
) -> None:
    answer = await node.ask(f"OPTIONS {path} HTTP/1.1\r\n{ASKING}")
    assert (answer.status, answer.body) == (204, b"")
    assert readable(answer)
    assert "POST" in answer.value("access-control-allow-methods").split(", ")
    assert answer.value("access-control-allow-headers") == "content-type"
    assert answer.value("access-control-max-age") == "600"
    assert answer.values("content-length") == []
    assert service.requests == []


@pytest.mark.parametrize("path", ["/orders/1", "/open", "/auth/login"])
async def test_a_preflight_of_another_page_is_refused(node: Node, service: Upstream, path: str) -> None:
    answer = await node.ask(f"OPTIONS {path} HTTP/1.1\r\n{EVIL}Access-Control-Request-Method: POST\r\n")
    assert (answer.status, answer.code) == (403, "origin_refused")
    assert silent(answer)
    assert service.requests == []


async def test_the_connection_goes_on_after_a_preflight_and_ends_after_one_with_a_body(node: Node) -> None:
    client = await node.connect()
    head = f"OPTIONS /open HTTP/1.1\r\nHost: gate.example\r\n{ASKING}"
    for _ in range(2):
        await client.send(f"{head}\r\n".encode())
        assert (await client.message()).status == 204
    await client.send(f"GET /open HTTP/1.1\r\nHost: gate.example\r\n{LISTED}\r\n".encode())
    answer = await client.message()
    assert (answer.status, readable(answer)) == (200, True)
    await client.send(f"{head}Content-Length: 5\r\n\r\n12345".encode())
    ended = await client.message()
    assert (ended.status, ended.value("connection")) == (204, "close")
    assert await client.rest() == b""
    client.close()


async def test_what_one_request_may_read_does_not_stick_to_the_connection(node: Node) -> None:
    client = await node.connect()
    for fields, allowed in ((LISTED, True), ("", False), (EVIL, False), (LISTED, True)):
        await client.send(f"GET /orders HTTP/1.1\r\nHost: gate.example\r\n{fields}\r\n".encode())
        assert readable(await client.message()) is allowed
    client.close()


async def test_options_without_a_page_goes_where_it_always_went(node: Node, service: Upstream) -> None:
    assert (await node.ask("OPTIONS /open HTTP/1.1\r\n")).status == 200
    assert (await node.ask(f"OPTIONS /open HTTP/1.1\r\n{LISTED}")).status == 200
    assert len(forwarded(service)) == 2


async def test_the_public_keys_may_be_read_by_every_page_with_one_word(node: Node) -> None:
    answer = await node.get("/.well-known/jwks.json", LISTED)
    assert answer.values("access-control-allow-origin") == ["*"]
    assert answer.values("access-control-allow-credentials") == []


async def test_hsts_is_told_where_a_trusted_proxy_says_tls_and_nowhere_else(
    node: Node, redis_url: str, service: Upstream, tmp_path: Path
) -> None:
    """R-186; and a page of its public address needs no entry in the list (R-181)."""
    forwarded_by_tls = "X-Forwarded-Proto: https\r\n"
    assert (await node.get("/auth/captcha", forwarded_by_tls)).values("strict-transport-security") == []
    server = {"session_cookie": "secure", "trusted_proxies": ["127.0.0.1"]}
    sections = {"server": server, "token": {"issuer": SHOP}}
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, **sections), node.clock) as behind:
        assert (await behind.get("/auth/captcha", forwarded_by_tls)).value("strict-transport-security")
        assert (await behind.get("/auth/captcha")).values("strict-transport-security") == []
        page = Page(whence=f"Origin: https://shop.example\r\n{forwarded_by_tls}")
        await page.login(behind)
        assert await page.me(behind) == 200
