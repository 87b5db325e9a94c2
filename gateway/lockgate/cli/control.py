"""What a running gateway is asked over a local socket: by commands, and by its own workers.

One line of JSON is asked, one line of JSON is the answer:

    {"do": "reload"}     what became of a reload
    {"do": "compare"}    what a reload would change
    {"do": "join"}       the configuration in force; from then on this connection is a worker's (`cli.members`)

The name of the socket begins with a digest of the path of the configuration file, so a command finds the gateways that
run by its own `--config`: a `serve`, a `dev`, several of them, in a container as on a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lockgate.cli import local_sockets
from lockgate.errors import LockgateError
from lockgate.settings import DEFAULT_FILE
from lockgate_common.background import BackgroundTasks

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from lockgate.cli.reloader import Reloader

    Join = Callable[["Line", int | None], Awaitable[None]]

MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of a line: a configuration file with some ten thousand routes."""
ASKED_WITHIN_S: Final = 5.0
ANSWERED_WITHIN_S: Final = 30.0
"""How long a command waits for a reload."""

_log = logging.getLogger("lockgate.rules")


class LocalSocket(NamedTuple):
    """A listening socket, and its name."""

    listener: socket.socket
    name: str


class Line:
    """A connection with a line of JSON for each message."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def of_socket(cls, connected: socket.socket) -> Line:
        """Take a connected socket over."""
        return cls(*await asyncio.open_connection(sock=connected, limit=MAX_LINE))

    async def read(self) -> dict[str, Any] | None:
        """The next message; `None` at the end of the connection, or where it is no message."""
        try:
            message = json.loads(await self._reader.readline())
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def write(self, message: dict[str, Any]) -> None:
        """Send a message."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def close(self) -> None:
        """End the connection, after what was written."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def open_socket(config: Path | None) -> LocalSocket | None:
    """Listen, for `listening` to accept; `None` where this system has no such socket.

    Args:
        config: the configuration file; `None`: the default one.
    """
    try:
        return LocalSocket(*local_sockets.listen(prefix_of(config)))
    except OSError as error:
        _log.warning("no socket for `lockgate reload` (%s)", error)
        return None


@contextlib.asynccontextmanager
async def listening(local: LocalSocket | None, reloader: Reloader, join: Join | None = None) -> AsyncIterator[None]:
    """Answer what is asked for as long as the context lasts.

    Args:
        local: of `open_socket`; it is closed at the end.
        reloader: reloads.
        join: serves the connection of a worker to its end; `None`: there are no workers besides this process.
    """
    if local is None:
        yield
        return
    listener, name = local
    connections = BackgroundTasks()
    accepting = asyncio.create_task(_accept(listener, connections, reloader, join))
    try:
        yield
    finally:
        accepting.cancel()
        await asyncio.wait({accepting})
        local_sockets.close(listener, name)
        await connections.close()


def prefix_of(config: Path | None) -> str:
    """The beginning of the names for a configuration file. Its path counts as it is written, also through a link."""
    path = os.path.abspath(config or DEFAULT_FILE)  # noqa: PTH100 - `Path.absolute` keeps `..`
    return f"lockgate-{sha256(path.encode()).hexdigest()[:16]}"


def ask_all(config: Path | None, do: str) -> list[dict[str, Any]]:
    """The answers of all gateways that run by a configuration file; empty where none does.

    Raises:
        LockgateError: one of them does not answer.
    """
    found = []
    for name in local_sockets.find(prefix_of(config)):
        try:
            connected = local_sockets.connect(name)
        except OSError:
            continue  # it has ended, or is not ours
        with connected:
            found.append(_ask(connected, {"do": do}))
    return found


def read_line(connected: socket.socket) -> bytes:
    """A line from a socket that blocks; shorter where the connection ends."""
    data = b""
    while not data.endswith(b"\n") and len(data) <= MAX_LINE:
        piece = connected.recv(65536)
        if not piece:
            break
        data += piece
    return data


def _ask(connected: socket.socket, message: dict[str, Any]) -> dict[str, Any]:
    connected.settimeout(ANSWERED_WITHIN_S)
    try:
        connected.sendall(json.dumps(message).encode() + b"\n")
        answer = json.loads(read_line(connected))
    except (OSError, ValueError) as error:
        raise LockgateError(f"a running gateway does not answer ({type(error).__name__})") from error
    if not isinstance(answer, dict):
        raise LockgateError("a running gateway gives no answer")
    return answer


async def _accept(listener: socket.socket, connections: BackgroundTasks, reloader: Reloader, join: Join | None) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            connected, _ = await loop.sock_accept(listener)
        except OSError as error:
            _log.warning("a local connection could not be accepted: %s", error.strerror)
            await asyncio.sleep(1)
            continue
        if local_sockets.is_ours(connected):
            connections.start(_serve(connected, reloader, join))
        else:
            connected.close()


async def _serve(connected: socket.socket, reloader: Reloader, join: Join | None) -> None:
    pid = local_sockets.process_of(connected)
    line = await Line.of_socket(connected)
    try:
        async with asyncio.timeout(ASKED_WITHIN_S):
            asked = await line.read() or {}
        if asked.get("do") == "join" and join is not None:
            await join(line, pid)
        elif asked.get("do") == "reload":
            line.write((await reloader.reload()).as_json())
        elif asked.get("do") == "compare":
            line.write((await reloader.compare()).as_json())
    except TimeoutError:
        pass
    finally:
        await line.close()
