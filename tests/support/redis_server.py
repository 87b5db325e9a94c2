"""A real Redis server with any options, on ports: with passwords, users, TLS, as a node of a Cluster."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lockgate.cli.devstack import redis_server
from tests.support.node import wait_for_line
from tests.support.redis_groups import HOST, free_ports

GUIDE: Final = Path(__file__).parents[2] / "docs/guides/redis.md"


def users_of_guide(name: str) -> list[list[str]]:
    """The rules of each user of this name in docs/guides/redis.md, in their order there."""
    text = GUIDE.read_text(encoding="utf-8")
    found = re.findall(rf"^user {name} +on >PASSWORD (.+)$", text, re.MULTILINE)
    return [rules.split() for rules in found]


HARDENED, EXACT = users_of_guide("lockgate")
"""What operators usually leave to the user of an application, and each command that the gateway needs."""


@dataclass(frozen=True, slots=True)
class RedisServer:
    """One that is running.

    Attributes:
        place: host and port.
        tls_place: the same for TLS; empty where it speaks none.
    """

    place: str
    tls_place: str


@contextlib.contextmanager
def running(folder: Path, *lines: str, certificate: Path | None = None) -> Iterator[RedisServer]:
    """Run one until the end.

    Args:
        folder: made for its configuration.
        lines: of its configuration, such as `requirepass …` and `user …`.
        certificate: with which it speaks TLS on a second port; its key is in the same file.
    """
    port, tls_port = free_ports(2)
    tls = (f"tls-port {tls_port}", f"tls-cert-file {certificate}", f"tls-key-file {certificate}", "tls-auth-clients no")
    own = (f"port {port}", f"bind {HOST}", 'save ""', f"dir {folder}", "maxmemory-policy noeviction")
    folder.mkdir()
    file = folder / "redis.conf"
    file.write_text("\n".join([*own, *(tls if certificate else ()), *lines]) + "\n")
    with subprocess.Popen([redis_server.find_program(), file], stdout=subprocess.PIPE) as process:  # noqa: S603 - our own argv
        try:
            wait_for_line(process.stdout, b"eady to accept connections")
            yield RedisServer(f"{HOST}:{port}", f"{HOST}:{tls_port}" if certificate else "")
        finally:
            process.kill()
