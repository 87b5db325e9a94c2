"""The parts that tests of the services share: a clock, link keys, callers that sign, and servers on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import tempfile
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import uvicorn
from uvicorn.server import ServerState

from lockgate_shop.kit.process.run import SocketProtocol
from lockgate_shop.users.passwords import Cost
from lockgate_trust import Caller, LinkKeys, create_link
from lockgate_trust.testing import identity_headers
from tests.support.raw import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import FastAPI
    from starlette.types import ASGIApp

LINKS = (("gateway", "users"), ("gateway", "orders"), ("gateway", "products"), ("orders", "products"))
EXTRA_LINKS = (("orders", "users"), ("products", "orders"))
"""Links that no service's table mentions: their holders have a valid key and still may not call."""
NO_AUTHORITY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain HTTP: to read the authorities that httpx trusts takes longer than a test."""
CHEAP: Final = Cost(time=1, memory_kib=8, parallelism=1)
"""The least that Argon2 takes, for tests that log in and are not about hashing."""


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


@cache
def _link_files() -> dict[str, bytes]:
    """The files of every link there is. To make them anew for each test costs more than the test."""
    with tempfile.TemporaryDirectory() as folder:
        for origin, target in (*LINKS, *EXTRA_LINKS):
            create_link(folder, origin, target)
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


class Links:
    """Every link key there is, in a folder; the same ones in each folder of a test process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in _link_files().items():
            if not (directory / name).exists():
                (directory / name).touch(mode=0o600)
                (directory / name).write_bytes(content)

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
        return dict(
            identity_headers(
                self._key,
                method=method,
                path=path,
                query=query,
                body=content,
                request_id=f"request-{self._sent}",
                now=self._clock(),
                user=who.user_id,
                roles=who.roles,
                scopes=who.scopes,
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


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """An app that is open already, behind uvicorn's protocol on a free port; gives its base URL.

    Without uvicorn's server: the signals are pytest's, and the server looks ten times a second whether it is to stop.
    """
    config = uvicorn.Config(app, lifespan="off", ws=SocketProtocol, log_config=None, access_log=False)
    config.load()
    state = ServerState()
    protocol = partial(config.http_protocol_class, config=config, server_state=state, app_state={})  # type: ignore[call-arg]
    # The protocol by name: asyncio sets TCP_NODELAY only where it is said, and answers would wait 40 ms without it.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.close()
            for connection in list(state.connections):
                connection.shutdown()
            # What is under way ends first.
            await until(lambda: not state.connections and not state.tasks)


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
