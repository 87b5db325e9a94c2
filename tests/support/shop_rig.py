"""The gateway's own calls over a socket, with a users service in the test's hands behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from tests.support.node import Node
from tests.support.raw import Message, Wire
from tests.support.upstream import OK, Script, Upstream, next_request

PASSWORD: Final = "correct-horse-battery"
JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
OAUTH_WORDS: Final = (
    None,
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "unsupported_grant_type",
    "invalid_token",
    "insufficient_scope",
    "temporarily_unavailable",
)
"""What `error` may say (the registry of RFC 6749 section 11.4); where none of them fits there is none."""
CREDENTIALS: Final = {"username": "alice", "password": PASSWORD}


@dataclass
class Users:
    """The accounts of the users service; a test may change them at any time.

    Attributes:
        status: of each account, by user id; `away`: the service fails when it is asked for the account.
        changed: when the passwords were changed last.
        silent: the service takes requests and responds to none.
    """

    status: dict[str, str] = field(default_factory=lambda: {"id-alice": "active", "id-bob": "active"})
    changed: str = "2026-01-01T00:00:00Z"
    silent: bool = False

    def say(self, state: str) -> None:
        """From now on the account of alice is `active`, `blocked`, `away`, or has `another password`."""
        is_changed = state == "another password"
        self.changed = "2026-02-02T00:00:00Z" if is_changed else "2026-01-01T00:00:00Z"
        self.status["id-alice"] = "active" if is_changed else state

    def script(self) -> Script:
        """The service: the internal calls for accounts, and 200 for anything else."""

        async def serve(upstream: Upstream, wire: Wire) -> None:
            while True:
                request = await next_request(wire)
                upstream.record(request)
                if not self.silent:
                    await wire.send(self._answer(request))

        return serve

    def _answer(self, request: Message) -> bytes:
        path = request.line.split(" ")[1]
        if path == "/internal/credentials/verify":
            given = request.json
            sub = f"id-{given['username']}"
            if self.status.get(sub) == "away":
                return _json(500, {})
            if given["password"] == PASSWORD and self.status.get(sub) == "active":
                return _json(200, {"valid": True, "account": self._account(sub)})
            return _json(200, {"valid": False})
        if path.startswith("/internal/accounts/"):
            sub = path.rpartition("/")[2]
            if self.status.get(sub) == "away":
                return _json(500, {})
            return _json(200, self._account(sub)) if sub in self.status else _json(404, {})
        return OK

    def _account(self, sub: str) -> dict[str, Any]:
        return {
            "sub": sub,
            "username": sub.removeprefix("id-"),
            "roles": ["customer"],
            "status": self.status[sub],
            "password_changed_at": self.changed,
        }


def _json(status: int, content: Mapping[str, Any]) -> bytes:
    body = json.dumps(content).encode()
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


class Caller:
    """A client of `/auth`."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def post(self, path: str, body: bytes = b"", *, media: str | None = JSON_TYPE, fields: str = "") -> Message:
        """POST bytes as they are."""
        kind = f"Content-Type: {media}\r\n" if media is not None else ""
        return await self.node.ask(f"POST {path} HTTP/1.1\r\n{kind}{fields}Content-Length: {len(body)}\r\n", body)

    async def json(self, path: str, content: object, *, fields: str = "") -> Message:
        """POST a JSON value."""
        return await self.post(path, json.dumps(content).encode(), fields=fields)

    async def form(self, path: str, content: Mapping[str, str]) -> Message:
        """POST a form."""
        return await self.post(path, urlencode(content).encode(), media=FORM_TYPE)

    async def login(self, username: str = "alice") -> dict[str, Any]:
        """Log in; the tokens."""
        answer = await self.json("/auth/login", {"username": username, "password": PASSWORD})
        assert answer.status == 200, answer.raw
        tokens: dict[str, Any] = answer.json
        return tokens

    async def welcome(self, access: str) -> int:
        """The status of a forwarded call with an access token."""
        return (await self.node.get("/orders", f"Authorization: Bearer {access}\r\n")).status


def bearer(tokens: Mapping[str, str]) -> str:
    """The Authorization line."""
    return f"Authorization: Bearer {tokens['access_token']}\r\n"


def problem(answer: Message, status: int, code: str) -> dict[str, Any]:
    """The members of a problem response of `/auth`, after a check of the rules for all of them."""
    assert answer.status == status, answer.raw
    assert answer.value("content-type") == "application/problem+json"
    assert answer.value("cache-control") == "no-store"
    assert answer.value("x-content-type-options") == "nosniff"
    members: dict[str, Any] = answer.json
    assert members["code"] == code
    assert members["status"] == status
    assert members.get("error") in OAUTH_WORDS
    assert ("error" in members) == ("error_description" in members)
    assert members["request_id"] == answer.value("x-request-id")
    return members
