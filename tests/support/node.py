"""A gateway to test: a real worker behind a real socket, with a real Redis and keys of its own.

In the test's own event loop (`running`), so that a test can look at the worker and move its clock; or as a process of
its own (`process`), to send it signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import uvicorn
from uvicorn.server import ServerState

from lockgate.app.server import listening_for_operators, serve
from lockgate.app.worker import Worker
from lockgate.cli import keys
from lockgate.cli.devstack import redis_server
from lockgate.clock import SystemClock
from lockgate.edge.protocol import STATE_KEY, EdgeProtocol
from lockgate.errors import Reason
from lockgate.keys import keyring
from lockgate.settings import Settings
from lockgate_trust import LinkKeys
from tests.support.clock import ManualClock
from tests.support.raw import WITHIN_S, Message, Wire
from tests.support.tokens import Tokens

HOST: Final = "Host: shop.example\r\n"
ROLES: Final = {"customer": ("orders:read", "orders:write"), "admin": ("products:write",)}
ROOT: Final = Path(__file__).parents[2]
_KEYS: Final[dict[frozenset[str], dict[Path, bytes]]] = {}
"""The files of a folder with keys, by the services that the gateway has links to; see `settings`."""


@dataclass(frozen=True, slots=True)
class Node:
    """One worker, serving.

    Attributes:
        clock: the worker's; it stands still until the test moves it.
        tokens: makes tokens that the worker takes.
    """

    worker: Worker
    settings: Settings
    clock: ManualClock
    tokens: Tokens
    port: int

    async def connect(self, *, receive_buffer: int | None = None) -> Wire:
        """A client."""
        return await Wire.connect("127.0.0.1", self.port, receive_buffer=receive_buffer)

    async def ask(self, head: str | bytes, body: bytes = b"") -> Message:
        """Send one request on a connection of its own, and read its response.

        Args:
            head: request line and fields, each line ended by CRLF, without the empty line; Host is added to text.
            body: as it goes on the wire.
        """
        raw = head if isinstance(head, bytes) else f"{head}{HOST}".encode("latin-1")
        client = await self.connect()
        try:
            await client.send(raw + b"\r\n" + body)
            return await client.message(body=not raw.startswith(b"HEAD "))
        finally:
            client.close()

    async def get(self, path: str, fields: str = "") -> Message:
        """GET, with field lines each ended by CRLF."""
        return await self.ask(f"GET {path} HTTP/1.1\r\n{fields}")

    def tick(self, seconds: float) -> None:
        """Let time pass, and the worker notice."""
        self.clock.advance(seconds)
        self.worker.base.ticker.tick()

    def links(self, service: str) -> LinkKeys:
        """The link keys as a service holds them."""
        return LinkKeys.load(self.settings.keys.directory / "links", service)


def routes(upstream: str) -> list[dict[str, Any]]:
    """One route of each kind, all to the service `orders`."""
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    shared = {"service": "orders", "upstreams": [upstream]}
    return [
        {**shared, "name": "open", "prefix": "/open", "auth": "public", "methods": methods, "public_write": True},
        {**shared, "name": "maybe", "prefix": "/maybe", "auth": "optional", "public_write": True},
        {**shared, "name": "profile", "prefix": "/profile"},
        {
            **shared,
            "name": "orders",
            "prefix": "/orders",
            "scopes": {"GET": ["orders:read"], "HEAD": ["orders:read"], "*": ["orders:write"]},
        },
        {
            **shared,
            "name": "products",
            "prefix": "/products",
            "auth": "optional",
            "scopes": {"PUT": ["products:write"]},
            "public_write": True,
        },
    ]


def settings(folder: Path, redis_url: str, upstream: str, /, **sections: Any) -> Settings:  # noqa: ANN401 - see below
    """A configuration in memory, and the keys it needs on disk.

    Gateways of one test process have the same keys: to make new ones costs as much as to open a worker. A test about
    gateways with different keys makes them by itself.

    Args:
        folder: where the keys are put.
        redis_url: of a running Redis.
        upstream: address of every service.
        sections: as in the configuration file, instead of the defaults here.
    """
    content = {
        "redis_url": redis_url,
        "keys": {"directory": folder / "keys"},
        "roles": ROLES,
        "route": routes(upstream),
        "upstreams": {"users": [upstream]},
        **sections,
    }
    made = Settings(**content)
    _put_keys(made)
    return made


def _put_keys(configured: Settings) -> None:
    """Make the missing keys; those of a new folder are made once for all."""
    directory, services = configured.keys.directory, frozenset(configured.called_services)
    if directory.exists() or services not in _KEYS:
        is_new = not directory.exists()
        keys.create_missing(configured)
        if is_new:
            files = [file for file in directory.rglob("*") if file.is_file()]
            _KEYS[services] = {file.relative_to(directory): file.read_bytes() for file in files}
        return
    directory.mkdir(mode=0o700, parents=True)
    for name, content in _KEYS[services].items():
        file = directory / name
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(content)


@contextlib.asynccontextmanager
async def running(
    configured: Settings, clock: ManualClock | None = None, *, admission_timeout_s: float = WITHIN_S
) -> AsyncIterator[Node]:
    """A worker in this event loop.

    Args:
        configured: the worker, with its keys on disk.
        clock: for a test that has one.
        admission_timeout_s: client, worker and service share one loop here. When a test keeps it busy, Redis is not
            away; so this is long, but for tests in which Redis is.
    """
    clock = clock or ManualClock()
    worker = Worker(configured, clock, admission_timeout_s=admission_timeout_s)
    config = uvicorn.Config("", http=EdgeProtocol, ws="none", log_config=None)
    state = ServerState()
    loop = asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, fault: faults.append(fault))
    async with worker.running(), listening_for_operators(worker, configured):
        server = await loop.create_server(lambda: EdgeProtocol(config, state, {STATE_KEY: worker.edge}), "127.0.0.1", 0)
        try:
            ring = keyring.load(configured.keys.directory)
            tokens = Tokens(ring.active, configured.token, clock)
            yield Node(worker, configured, clock, tokens, server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for connection in list(worker.edge.connections):
                connection.abort_response(Reason.DRAINING)
    # After any test, nothing may have gone wrong inside.
    assert not faults, faults


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis server; its URL."""
    with redis_server.socket_path(folder) as path:
        child = redis_server.redis_child(folder / "data", path, env=os.environ)
        # What was acknowledged outlives a kill: with `everysec`, a slow disk delays the write itself, too.
        argv = [*child.argv, "--loglevel", "notice", "--appendfsync", "no"]
        with subprocess.Popen(argv, env=child.env, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own argv
            try:
                wait_for_line(process.stdout, b"eady to accept connections")
                yield redis_server.socket_url(path)
            finally:
                process.kill()


@contextlib.contextmanager
def process(folder: Path, redis_url: str, upstream: str, **sections: Any) -> Iterator[Process]:  # noqa: ANN401 - see `settings`
    """A worker as a process of its own, ready to be asked; killed at the end if it has not ended by itself.

    `admission_timeout_s` among the sections is how long it waits for Redis, where that is not `WITHIN_S`.
    """
    admission_timeout_s = sections.pop("admission_timeout_s", WITHIN_S)
    configured = settings(folder, redis_url, upstream, **sections)
    content = {"folder": str(folder), "redis_url": redis_url, "upstream": upstream, "sections": sections}
    content["admission_timeout_s"] = admission_timeout_s
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        port = listener.getsockname()[1]
        argv = [sys.executable, "-m", "tests.support.node", json.dumps(content), str(listener.fileno())]
        with subprocess.Popen(argv, cwd=ROOT, pass_fds=(listener.fileno(),), stderr=subprocess.PIPE) as child:  # noqa: S603 - our own argv
            try:
                wait_for_line(child.stderr, b"ready")
                listener.close()  # so that the port is the child's alone
                ring = keyring.load(configured.keys.directory)
                tokens = Tokens(ring.active, configured.token, SystemClock())
                yield Process(child, tokens, port)
            finally:
                child.kill()


@dataclass(frozen=True, slots=True)
class Process:
    """One worker in a process, by the machine's clock."""

    child: subprocess.Popen[bytes]
    tokens: Tokens
    port: int

    async def connect(self) -> Wire:
        """A client."""
        return await Wire.connect("127.0.0.1", self.port)


def wait_for_line(output: IO[bytes] | None, text: bytes) -> None:
    """Read a process's output until it has said that, within `WITHIN_S`."""
    assert output is not None
    said, until = b"", time.monotonic() + WITHIN_S
    while text not in said:
        readable, _, _ = select.select([output], [], [], max(0.0, until - time.monotonic()))
        data = os.read(output.fileno(), 4096) if readable else b""
        assert data, f"it did not say {text!r}, but {said!r}"
        said += data


def main(content: str, descriptor: str) -> None:
    """Run one worker, in the process that `process` starts."""
    given = json.loads(content)
    configured = settings(Path(given["folder"]), given["redis_url"], given["upstream"], **given["sections"])
    uvicorn_says = logging.getLogger("uvicorn.error")
    uvicorn_says.setLevel(logging.INFO)
    uvicorn_says.addHandler(_SayReady())
    # A worker beside other tests may be late; where Redis is away on purpose, see `running`.
    serve(configured, socket.socket(fileno=int(descriptor)), admission_timeout_s=given["admission_timeout_s"])


class _SayReady(logging.Handler):
    """uvicorn says that its process has started when the worker is open; the socket listens already."""

    def emit(self, record: logging.LogRecord) -> None:
        if "Started server process" in record.getMessage():
            sys.stderr.write("ready\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
