"""R-185, R-186: the header fields for browsers in every response of the gateway's own."""

from __future__ import annotations

from typing import Final

import pytest

from tests.support.node import HOST
from tests.support.raw import Message
from tests.support.shop_rig import CREDENTIALS, FORM_TYPE, PASSWORD, Caller, bearer

PUBLIC: Final = ("/.well-known/jwks.json", "/.well-known/oauth-authorization-server")
"""What may be cached: it is the same for all clients, and no secret."""
ASKED: Final = (
    ("GET", "/.well-known/jwks.json", 200),
    ("HEAD", "/.well-known/jwks.json", 200),
    ("GET", "/.well-known/oauth-authorization-server", 200),
    ("POST", "/.well-known/jwks.json", 405),
    ("GET", "/.well-known/nothing", 404),
    ("GET", "/healthz", 200),
    ("GET", "/readyz", 200),
    ("GET", "/auth/captcha", 200),
    ("GET", "/auth/captcha/x.png", 404),
    ("GET", "/auth/me", 401),
    ("GET", "/auth/login", 405),
    ("POST", "/auth/login", 415),
    ("POST", "/auth/logout", 401),
    ("GET", "/auth/verify", 403),
    ("GET", "/admin/clients", 401),
    ("GET", "/openapi.json", 401),
    ("GET", "/docs", 404),
    ("GET", "/redoc", 404),
    ("GET", "/nothing", 404),
    ("GET", "/orders", 401),
    ("GET", "/orders/../x", 400),
)


def guarded(answer: Message) -> None:
    assert answer.values("x-content-type-options") == ["nosniff"]
    assert answer.values("referrer-policy") == ["no-referrer"]
    assert answer.values("server") == []


def kept_by_nobody(answer: Message) -> None:
    guarded(answer)
    assert answer.values("cache-control") == ["no-store"]


@pytest.mark.parametrize(("method", "path", "status"), ASKED)
async def test_every_answer_is_guarded(caller: Caller, method: str, path: str, status: int) -> None:
    """R-185, R-186: and none names the program that wrote the response."""
    answer = await caller.node.ask(f"{method} {path} HTTP/1.1\r\n")
    assert answer.status == status
    guarded(answer)
    assert answer.value("cache-control").startswith("public" if path in PUBLIC and status == 200 else "no-store")


async def test_what_holds_tokens_is_kept_by_nobody(caller: Caller) -> None:
    """R-154"""
    answers = [await caller.json("/auth/login", CREDENTIALS)]
    tokens = answers[0].json
    answers += [
        await caller.json("/auth/login", {"username": "alice", "password": f"{PASSWORD}!"}),
        await caller.node.get("/auth/me", bearer(tokens)),
        await caller.node.get("/auth/sessions", bearer(tokens)),
        await caller.node.get("/admin/clients", bearer(tokens)),
        await caller.post("/auth/tickets", fields=bearer(tokens), media=None),
        await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]}),
        await caller.post("/auth/token", b"grant_type=x", media=FORM_TYPE),
        await caller.post("/auth/introspect", b"token=x", media=FORM_TYPE),
        await caller.post("/auth/revoke", b"token=x", media=FORM_TYPE),
        await caller.post("/auth/logout", fields=bearer(tokens), media=None),
    ]
    assert [answer.status for answer in answers] == [200, 400, 200, 200, 403, 201, 200, 400, 401, 200, 204]
    for answer in answers:
        kept_by_nobody(answer)


@pytest.mark.parametrize("bytes_", [b"GARBAGE\r\n\r\n", f"GET /a b HTTP/1.1\r\n{HOST}\r\n".encode()])
async def test_also_one_to_what_is_no_request(caller: Caller, bytes_: bytes) -> None:
    """R-186."""
    client = await caller.node.connect()
    await client.send(bytes_)
    kept_by_nobody(await client.message())
    client.close()
