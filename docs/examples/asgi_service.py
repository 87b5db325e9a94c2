"""A service behind the gateway, without a framework.

The README beside it says how to start it.
"""

# ruff: noqa: INP001 - a file to copy, in no package

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from lockgate_trust import IdentityMiddleware, LinkKeys, LiveLinkKeys, caller_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def notes(scope: Message, receive: Receive, send: Send) -> None:
    """Respond with the note and the user. Called only for requests that the other end of a link has signed."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    who = caller_of(scope)
    note = scope["path"].removeprefix("/notes/")
    if scope["method"] == "POST":
        note = json.loads(await _body(receive))["text"]
    response = json.dumps({"note": note, "user": who.user_id, "roles": sorted(who.roles)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(response)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": response})


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def create_app(keys: LinkKeys | None = None) -> IdentityMiddleware:
    """The service, with the keys of a test, or with those in the folder that LINK_KEYS names."""
    return IdentityMiddleware(notes, keys=keys or LiveLinkKeys(os.environ["LINK_KEYS"], me="notes"))
