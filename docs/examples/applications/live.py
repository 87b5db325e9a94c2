"""A WebSocket that repeats what it is told, with the verified user."""

# ruff: noqa: INP001 - a file to copy, in no package

import os

from fastapi import FastAPI, WebSocket

from lockgate_trust import IdentityMiddleware, LinkKeys, LiveLinkKeys, caller_of


async def live(socket: WebSocket) -> None:
    """Greet the user, and send each message back, until the other end closes."""
    user = caller_of(socket.scope).user_id
    await socket.accept()
    await socket.send_text(f"Hello, {user}")
    async for message in socket.iter_text():
        await socket.send_text(f"{user}: {message}")


def create_app(keys: LinkKeys | None = None) -> FastAPI:
    """The service, with the keys of a test, or with those in the folder that LINK_KEYS names."""
    app = FastAPI()
    app.add_api_websocket_route("/live", live)
    app.add_middleware(IdentityMiddleware, keys=keys or LiveLinkKeys(os.environ["LINK_KEYS"], me="live"))
    return app
