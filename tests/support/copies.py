"""Copies of a service that are killed and started again, each on a port of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.node import ROOT
from tests.support.peers import closed_port
from tests.support.raw import until
from tests.support.service_processes import environment

START_WITHIN_S: Final = 60
"""A copy starts while the other one has all processors busy."""


@dataclass
class Copy:
    """A copy of a service.

    Attributes:
        url: the copy's address, also while it is dead; then connections are refused.
        argv: starts it; it says `ready` on standard error.
        log: gets its standard error; a pipe would be full at some time.
        env: its environment.
    """

    url: str
    argv: list[str]
    log: Path
    env: Mapping[str, str] = field(repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    async def start(self) -> None:
        """Start the process; it accepts connections when this returns."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(self.argv, cwd=ROOT, env=self.env, stderr=log)  # noqa: S603, ASYNC220 - our own argv
        await until(lambda: b"ready" in self.log.read_bytes(), START_WITHIN_S)

    def kill(self) -> None:
        """SIGKILL; the process is gone when this returns."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()


@contextlib.contextmanager
def recording(folder: Path, file: Path) -> Iterator[Copy]:
    """A copy of the recording service that is not started yet; killed at the end.

    Its port is bound here for as long, without listening: no other program can get the port while the copy is dead.

    Args:
        folder: of the link keys.
        file: where POSTs are noted.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        argv = [sys.executable, "-m", "tests.support.recording_service", str(port), str(file)]
        env = {**os.environ, "LINK_KEYS": str(folder)}
        copy = Copy(f"http://127.0.0.1:{port}", argv, file.with_suffix(f".{port}.log"), env)
        try:
            yield copy
        finally:
            copy.kill()


@contextlib.contextmanager
def of_shop(service: str, folder: Path, links: Path, **more: str) -> Iterator[Copy]:
    """A copy of a service of the shop that is not started yet; killed at the end.

    Args:
        service: `users`, `orders` or `products`.
        folder: has the database, which copies share.
        links: the folder of the link keys.
        more: of its settings.
    """
    port = closed_port()
    argv = [sys.executable, "-m", f"lockgate_shop.{service}", "--port", str(port), "--seed-demo"]
    env = environment(service, folder, LINK_KEYS=str(links), **more)
    copy = Copy(f"http://127.0.0.1:{port}", argv, folder / f"{service}.{port}.log", env)
    try:
        yield copy
    finally:
        copy.kill()
