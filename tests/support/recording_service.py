"""A service to be killed: it verifies the gateway's signatures, and notes each POST in a file before it responds.

`python -m tests.support.recording_service PORT FILE` listens on a port that its parent holds; see `copies.py`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from lockgate_trust import IdentityMiddleware, LiveLinkKeys

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Recorder:
    """The application.

    Args:
        file: gets a line for each POST; written by one call, so that two copies can share it and a kill loses no line
            of a request that was responded to.
    """

    def __init__(self, file: str) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Respond without a body: uvicorn writes head and body apart, and a response that began is never repeated."""
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["method"] == "POST":
            os.write(self._file, body + b"\n")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def main(port: str, file: str) -> None:
    """Serve until this process is killed."""
    app = IdentityMiddleware(Recorder(file), keys=LiveLinkKeys(os.environ["LINK_KEYS"], me="orders"))
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_keep_alive=75)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", int(port)))
        listener.listen(2048)
        sys.stderr.write("ready\n")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
