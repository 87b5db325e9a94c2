"""Helpers that several tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from lockgate_trust import (
    Caller,
    IdentityMiddleware,
    Refused,
    ReplayGuard,
    SignatureRefused,
    known_caller,
)
from lockgate_trust.asgi import Receive, Scope, Send
from tests.support.links import NOW, ORDERS_KEYS, Received


class Recorder:
    """An application that remembers its callers and their bodies."""

    def __init__(self) -> None:
        self.callers: list[Caller | None] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            return
        self.callers.append(known_caller(scope))
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})


class World:
    """The middleware around a recorder, at a fixed time."""

    def __init__(self, replays: ReplayGuard | None = None) -> None:
        self.now = NOW
        self.app = Recorder()
        self.refusals: list[SignatureRefused] = []
        self.middleware = IdentityMiddleware(
            self.app,
            keys=ORDERS_KEYS,
            clock=lambda: self.now,
            on_refusal=lambda refused, _: self.refusals.append(refused),
            replays=replays,
        )

    async def send(
        self, request: Received, content: bytes | AsyncIterator[bytes] | None = None, **headers: str
    ) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.middleware)) as client:
            query = f"?{request.query}" if request.query else ""
            extra = [(name.replace("_", "-"), value) for name, value in headers.items()]
            return await client.request(
                request.method,
                f"http://orders{request.path}{query}",
                headers=[*request.headers, *extra],
                content=content,
            )

    def assert_untouched(self) -> None:
        assert self.app.callers == []
        assert self.app.bodies == []

    @property
    def reason(self) -> Refused:
        [refused] = self.refusals
        return refused.reason
