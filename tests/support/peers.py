"""The parts that tests of the services share: a clock, link keys, callers that sign, and servers on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from lockgate_shop.kit.process.run import SocketProtocol
from lockgate_trust import Caller, LinkKeys, create_link, signed_headers, token_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.types import ASGIApp

LINKS = (("gateway", "users"), ("gateway", "orders"), ("gateway", "products"), ("orders", "products"))
EXTRA_LINKS = (("orders", "users"), ("products", "orders"))
"""Links that no service's table mentions: their holders have a valid key and still may not call."""


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Who:
    """The user that a signed request speaks of."""

    user_id: str | None = None
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()


NOBODY = Who()


class Links:
    """Every link key there is, in a folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for origin, target in (*LINKS, *EXTRA_LINKS):
            create_link(directory, origin, target)

    def of(self, service: str) -> LinkKeys:
        return LinkKeys.load(self.directory, service)


class Peer:
    """A peer with a link to a service. It calls over HTTP and signs each request."""

    def __init__(
        self, http: httpx.AsyncClient, links: Links, origin: str, target: str, clock: Callable[[], float]
    ) -> None:
        self.http = http
        self._key = links.of(origin).outbound(target)
        self._clock = clock
        self._sent = 0

    async def call(  # noqa: PLR0913 - what makes a request, mostly by name
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: Who = NOBODY,
        query: str = "",
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        signed = self.signed(method, path, query=query, content=content, who=who)
        sent = {"content-type": "application/json"} if content else {}
        url = f"{path}?{query}" if query else path
        return await self.http.request(method, url, headers={**sent, **signed, **(headers or {})}, content=content)

    def signed(
        self, method: str, path: str, *, query: str = "", content: bytes = b"", who: Who = NOBODY
    ) -> dict[str, str]:
        """The identity headers of one request, and their signature."""
        self._sent += 1
        on_behalf = self._key.origin if self._key.origin != "gateway" else None
        identity = token_headers(user_id=who.user_id, roles=who.roles, scopes=who.scopes, on_behalf=on_behalf)
        return dict(
            signed_headers(
                self._key,
                method=method,
                path=path,
                query=query,
                headers=[("x-request-id", f"request-{self._sent}"), *identity],
                body=content or None,
                now=self._clock(),
            )
        )


def caller(who: Who) -> Caller:
    return Caller(request_id="request-0", service="gateway", user_id=who.user_id, roles=who.roles, scopes=who.scopes)


@contextlib.asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app after the start of its lifespan."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://svc") as http:
        yield http


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals are pytest's


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """An app that is open already, behind a real server on a free port; gives its base URL."""
    # The protocol by name: asyncio sets TCP_NODELAY only where it is said, and answers would wait 40 ms without it.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = _Server(uvicorn.Config(app, lifespan="off", ws=SocketProtocol, log_config=None, access_log=False))
        # The socket listens already: a client that connects early waits for the server.
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


def closed_port() -> int:
    """A port of loopback without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def problem(answer: httpx.Response) -> dict[str, Any]:
    """The members of a problem response, after a check of the rules for all of them."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    members: dict[str, Any] = answer.json()
    assert members["type"] == "about:blank"
    assert members["status"] == answer.status_code
    assert members["title"]
    assert members["code"]
    return members
