"""The service of `tests/support/node_services`, as a process, and the gateway's end of its link."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from lockgate_trust import LinkKey, LinkKeys, create_link
from lockgate_trust.testing import identity_headers
from tests.support.node_modules import node, project

PROGRAMS: Final = Path(__file__).parent / "node_services"
WITHIN_S: Final = 30
_NO_AUTHORITY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here is https; reading the authorities that httpx trusts takes longer than a test."""

Json = dict[str, Any]


@dataclass
class NodeService:
    """A running service, and what it says."""

    links: Path
    process: subprocess.Popen[bytes]
    port: int
    http: httpx.Client

    @property
    def key(self) -> LinkKey:
        """The key with which the gateway signs now."""
        return LinkKeys.load(self.links, "gateway").outbound("orders")

    def signed(
        self,
        method: str,
        target: str,
        key: LinkKey | None = None,
        **more: Any,  # noqa: ANN401 - as `identity_headers`
    ) -> list[tuple[str, str]]:
        """The header fields with which the gateway passes a request of Zoë's on."""
        path, _, query = target.partition("?")
        given = {"user": "Zo\u00eb", "roles": ["customer", "admin"], **more}
        return identity_headers(key or self.key, method=method, path=path, query=query, **given)

    def ask(
        self, method: str, target: str, headers: list[tuple[str, str]], content: bytes | Iterator[bytes] | None = None
    ) -> httpx.Response:
        """Send one request, on a connection of its own."""
        return self.http.request(method, target, headers=headers, content=content)

    def ask_raw(self, head: str, body: bytes = b"") -> bytes:
        """Send bytes, and read until the service closes."""
        with socket.create_connection(("127.0.0.1", self.port), WITHIN_S) as client:
            client.sendall(f"{head}Host: orders\r\nConnection: close\r\n\r\n".encode("latin-1") + body)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def said(self) -> Json:
        """The next line that the service says: what it served, refused, or failed at."""
        said: Json = json.loads(read_line(self.process))
        return said


def connections_to(port: int) -> httpx.Client:
    """A client with a new connection for each request."""
    limits = httpx.Limits(max_keepalive_connections=0)
    url = f"http://127.0.0.1:{port}"
    return httpx.Client(base_url=url, limits=limits, timeout=WITHIN_S, trust_env=False, verify=_NO_AUTHORITY)


def read_line(process: subprocess.Popen[bytes]) -> str:
    """A line of a process's output, within `WITHIN_S`."""
    assert process.stdout is not None
    line, until = b"", time.monotonic() + WITHIN_S
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        character = os.read(process.stdout.fileno(), 1) if readable else b""
        assert character, f"the service said {line!r} and no more"
        line += character
    return line.decode()


@contextlib.contextmanager
def running(folder: Path, kind: str, place: str = "first", **env: str) -> Iterator[NodeService]:
    """A service that listens.

    Args:
        folder: where its project and its keys are made.
        kind: `express`, `express4` or `fastify`.
        place: see `service.mjs`.
        env: settings, see `service.mjs`.
    """
    program = project(folder, PROGRAMS, kind) / "service.mjs"
    links = folder / "links"
    create_link(links, "gateway", "orders")
    create_link(links, "gateway", "products")
    argv = [node(), str(program), kind, str(links), place]
    with subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own program
        try:
            port = int(read_line(process).removeprefix("port "))
            with connections_to(port) as http:
                yield NodeService(links, process, port, http)
        finally:
            process.kill()
