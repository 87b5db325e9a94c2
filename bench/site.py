"""What every measured system shares: a folder, the service, Redis, keys and tokens."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import tokens
from bench.machine import Command, Cores, Running, free_port, started
from bench.tokens import PeerKeys
from lockgate.cli.devstack import redis_server

HERE: Final = Path(__file__).parent
PEERS: Final = HERE / ".peers"
PATH: Final = "/orders/1"
ANSWER: Final = json.dumps({"id": 1, "state": "paid", "lines": [{"product": "p-1", "count": 2}], "note": "n" * 109})
"""190 bytes."""
BODY_SIZES: Final = (1_000, 100_000, 10_000_000)
_READY_S: Final = 60
_PAUSE_S: Final = 0.02


# Not `string.Template`: the files are full of `$` and `%`.
_MARK: Final = re.compile(r"@([A-Z_]+)@")


@dataclass(frozen=True, slots=True)
class Site:
    """The parts that all systems of one run share.

    Attributes:
        folder: for configurations, logs and sockets; gone after the run.
        service_port: of the service behind every gateway.
        redis: its unix socket.
        peers: keys that the other gateways verify with.
    """

    folder: Path
    cores: Cores
    service_port: int
    redis: Path
    peers: PeerKeys

    @property
    def redis_url(self) -> str:
        """The address for clients."""
        return redis_server.socket_url(self.redis)

    def fill(self, template: str, port: int, **values: object) -> Path:
        """Write a configuration from `bench/peers/`.

        Args:
            template: its file name.
            port: where the system shall listen.
            values: beyond those that every template may name.

        Returns:
            The configuration in the run's folder.
        """
        common = {
            "FOLDER": self.folder,
            "USER": getpass.getuser(),
            "PORT": port,
            "SERVICE": self.service_port,
            "ANSWER": ANSWER,
            "ISSUER": tokens.ISSUER,
            "AUDIENCE": tokens.AUDIENCE,
            "PUBLIC_PEM": self.peers.public_pem,
            "JWKS": self.peers.jwks,
            "SECRET": self.peers.secret,
        }
        known = common | values
        text = _MARK.sub(lambda mark: str(known[mark[1]]), (HERE / "peers" / template).read_text())
        path = self.folder / f"{port}-{template}"
        path.write_text(text)
        return path


@contextlib.contextmanager
def opened(folder: Path, cores: Cores) -> Iterator[Site]:
    """Start the service and Redis on the core of the load."""
    site = Site(folder, cores, free_port(), folder / "redis.sock", PeerKeys.create(folder))
    child = redis_server.redis_child(folder / "redis", site.redis, env=os.environ)
    configuration = site.fill("service.conf", site.service_port)
    (folder / "bodies").mkdir()
    for size in BODY_SIZES:
        (folder / "bodies" / str(size)).write_bytes(b"x" * size)
    with (
        started(Command(child.argv), cores.load, folder / "redis.log") as redis,
        started(Command(["nginx", "-c", str(configuration)]), cores.load, folder / "service.out") as service,
    ):
        wait_for(redis, "redis", site.redis.is_socket)
        wait_for_port(service, "service", site.service_port)
        yield site


def wait_for_port(running: Running, name: str, port: int) -> None:
    """Wait until a system listens.

    Raises:
        RuntimeError: the system ended or took too long.
    """
    wait_for(running, name, lambda: _listens(port))


def wait_for_response(running: Running, name: str, port: int) -> None:
    """Wait until a system responds, which may be later than it listens; with any status.

    Raises:
        RuntimeError: the system ended or took too long.
    """
    wait_for(running, name, lambda: _responds(port))


def get(port: int, path: str = PATH, token: str | None = None, body: bytes | None = None) -> tuple[int, bytes]:
    """Send one request.

    Returns:
        Status and body of the response.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_for(running: Running, name: str, ready: Callable[[], bool]) -> None:
    """Wait until a condition holds.

    Raises:
        RuntimeError: the system ended or took too long.
    """
    end = time.monotonic() + _READY_S
    while not ready():
        if not running.alive() or time.monotonic() > end:
            raise RuntimeError(f"{name} did not start; see its log")
        time.sleep(_PAUSE_S)


def _responds(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return get(port)[0] > 0
    return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
