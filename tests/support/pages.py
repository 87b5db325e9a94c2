"""A page in a user's browser: it sends its cookies along, and never sees their values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.node import HOST, Node, Process
from tests.support.raw import Message
from tests.support.shop_rig import CREDENTIALS
from tests.support.upstream import Upstream

NAME: Final = "__Host-lockgate"
SHOP: Final = "https://shop.example"
OWN: Final = "Sec-Fetch-Site: same-origin\r\n"
LISTED: Final = f"Origin: {SHOP}\r\n"
EVIL: Final = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n"
SERVER: Final = {"session_cookie": "secure", "allowed_origins": [SHOP]}
"""The configuration of a node that gives cookies out."""


@dataclass
class Page:
    """A page.

    Attributes:
        jar: the browser's cookies.
        said: every Set-Cookie that came, in order.
        whence: the header fields by which a browser tells of the page with each request.
    """

    jar: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    whence: str = OWN

    @property
    def cookie(self) -> str:
        """The Cookie line that the browser sends."""
        pairs = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        return f"Cookie: {pairs}\r\n" if pairs else ""

    async def ask(  # noqa: PLR0913 - what a request is made of
        self,
        node: Node | Process,
        method: str,
        path: str,
        content: object = None,
        *,
        whence: str | None = None,
        more: str = "",
    ) -> Message:
        """Send a request as the browser would, and keep the cookies of the response."""
        body = b"" if content is None else json.dumps(content).encode()
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        origin = self.whence if whence is None else whence
        client = await node.connect()
        try:
            await client.send(
                f"{method} {path} HTTP/1.1\r\n{HOST}{origin}{self.cookie}{kind}{more}\r\n".encode() + body
            )
            answer = await client.message()
        finally:
            client.close()
        for line in answer.values("set-cookie"):
            self._keep(line)
        return answer

    async def login(self, node: Node | Process, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Log in; the content of the response."""
        answer = await self.ask(node, "POST", "/auth/login", {**CREDENTIALS, "mode": "cookie", **more})
        assert answer.status == 200, answer.raw
        told: dict[str, Any] = answer.json
        return told

    async def me(self, node: Node | Process) -> int:
        """The status of `/auth/me`."""
        return (await self.ask(node, "GET", "/auth/me")).status

    def _keep(self, line: str) -> None:
        self.said.append(line)
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        if "Max-Age=0" in attributes:
            self.jar.pop(name, None)
        else:
            self.jar[name] = value


def forwarded(service: Upstream) -> list[Message]:
    """The requests that reached a service, except for the gateway's own questions about accounts."""
    return [request for request in service.requests if "/internal/" not in request.line]


def account_reads(service: Upstream) -> int:
    """How often the gateway has asked for an account by its id."""
    return sum("/internal/accounts/" in request.line for request in service.requests)
