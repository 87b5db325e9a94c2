"""Copies of a service that are killed and started again, each on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.node import ROOT, wait_for_line


@dataclass
class Copy:
    """A copy of the recording service.

    Attributes:
        folder: of the link keys.
        file: where POSTs are noted.
        url: the copy's address, also while it is dead; then connections are refused.
    """

    folder: Path
    file: Path
    url: str
    _port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    async def start(self) -> None:
        """Start the process; it accepts connections when this returns."""
        argv = [sys.executable, "-m", "tests.support.recording_service", str(self._port), str(self.file)]
        env = {**os.environ, "LINK_KEYS": str(self.folder)}
        self._process = subprocess.Popen(argv, cwd=ROOT, env=env, stderr=subprocess.PIPE)  # noqa: S603, ASYNC220 - our own argv
        await asyncio.to_thread(wait_for_line, self._process.stderr, b"ready")

    def kill(self) -> None:
        """SIGKILL; the process is gone when this returns."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()


@contextlib.contextmanager
def held(folder: Path, file: Path) -> Iterator[Copy]:
    """A copy that is not started yet; killed at the end.

    Its port is bound here for as long, without listening: no other program can get the port while the copy is dead.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        copy = Copy(folder, file, f"http://127.0.0.1:{port}", port)
        try:
            yield copy
        finally:
            copy.kill()
