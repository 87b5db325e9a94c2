"""HEAD: as GET, without the body (RFC 9110 section 9.3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """ASGI middleware right around the routes: they know GET only, and so does their description."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve HEAD by the route of GET."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        # Not the scope itself: the server leaves out bodies for what it knows to be a HEAD.
        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, _head_only(send))
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]  # for the log


def _head_only(send: Send) -> Send:
    """End the response after its header section. An endless stream sees this as a client that disconnects."""

    async def end_behind_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return end_behind_head
