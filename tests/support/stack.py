"""A whole `lockgate dev` as a process of its own, for tests that talk to it from outside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from tests.support.commands import Ending

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
START_WITHIN_S: Final = 60
STOP_WITHIN_S: Final = 40
"""Longer than any child may take to stop."""
OURS: Final = ("LOCKGATE_", "USERS_", "ORDERS_", "PRODUCTS_", "REDIS_URL")
"""What the program reads of the environment; a stack under test is told nothing by accident."""

_READY: Final = "ready http://"


@dataclass(frozen=True)
class Stack:
    """A running stack.

    Attributes:
        url: of the gateway, without a slash at the end.
        folder: holds `data` (databases, Redis, logs) and `keys`.
        pid: of the process that supervises the others.
        said: what it has told the person at the terminal until it was ready.
    """

    url: str
    folder: Path
    pid: int
    said: str

    @property
    def logs(self) -> Path:
        """One file for each process of the stack."""
        return self.folder / "data" / "logs"

    def processes(self) -> set[int]:
        """The pids of everything that the supervisor has started, directly or not, as of now."""
        return _descendants(self.pid)


@contextlib.contextmanager
def running_stack(folder: Path, *options: str, **more: str) -> Iterator[Stack]:
    """Start a stack with a data folder and keys of its own; at the end stop it by SIGINT and see that all of it went.

    Args:
        folder: for all it writes.
        options: of `lockgate dev`.
        more: of the environment.

    Raises:
        AssertionError: it did not become ready in time, did not stop cleanly, or left a process or a listener behind.
    """
    with started_stack(folder, *options, terminal=None, **more) as (process, stack):
        yield stack
        _stop(process, stack)


@contextlib.contextmanager
def started_stack(
    folder: Path, *options: str, terminal: int | None = None, **more: str
) -> Iterator[tuple[subprocess.Popen[bytes], Stack]]:
    """The same for a test that ends it by itself; its first process is killed at the end if it has not.

    Args:
        folder: for all it writes.
        options: of `lockgate dev`.
        terminal: the descriptor of a terminal; the stack runs in its foreground, as if started there.
        more: of the environment.

    Raises:
        AssertionError: it did not become ready in time.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    env = {**inherited, "PYTHONPATH": str(ROOT), "LOCKGATE_KEYS__DIRECTORY": str(folder / "keys"), **more}
    with (
        (folder / "dev.err").open("wb") as errors,
        subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "lockgate.cli", "dev", "--port", "0", "--data", str(folder / "data"), *options],
            cwd=ROOT,
            env=env,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=errors,
            # Its own session: a Ctrl-C in the terminal is pytest's, which then stops it as always.
            start_new_session=True,
            preexec_fn=None if terminal is None else _take_terminal,  # noqa: PLW1509 - one system call, no lock is taken
        ) as process,
    ):
        try:
            said = _said_until_ready(process, folder)
            yield process, Stack(said.splitlines()[-1].removeprefix("ready "), folder, process.pid, said)
        finally:
            process.kill()


def _take_terminal() -> None:
    # Ours is a new session. Its leader may take the terminal; then Ctrl-C there is for us.
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _said_until_ready(process: subprocess.Popen[bytes], folder: Path) -> str:
    """What it says, up to and with the line that begins with `ready`."""
    assert process.stdout is not None
    said = ""
    for text in _output(process.stdout, START_WITHIN_S):
        said += text
        lines = said.rpartition("\n")[0].splitlines()
        for number, line in enumerate(lines, start=1):
            if line.startswith(_READY):
                return "\n".join(lines[:number])
    raise AssertionError(f"not ready; it said:\n{said}\n{(folder / 'dev.err').read_text()}")


def _output(stream: IO[bytes], within_s: float) -> Iterator[str]:
    """What is written to a pipe, as it comes; ends when the pipe does or the time is over."""
    deadline = time.monotonic() + within_s
    while (left_s := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([stream], [], [], left_s)
        if not readable or not (data := os.read(stream.fileno(), 65_536)):
            return
        yield data.decode(errors="replace")


def listens(url: str) -> bool:
    """Whether a program takes connections there."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def _stop(process: subprocess.Popen[bytes], stack: Stack) -> None:
    ending = Ending(*stack.processes())
    process.send_signal(signal.SIGINT)
    # Read on, so that a full pipe cannot hold up what it says while it stops.
    said, _ = process.communicate(timeout=STOP_WITHIN_S)
    assert process.returncode == 0, said.decode(errors="replace")
    assert ending.survivors(within_s=1) == set(), "processes were left behind"
    assert not listens(stack.url), "somebody still listens"


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    # A process that ends while we look has no children to tell of.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = {int(child) for child in (task / "children").read_text().split()}
            found |= children.union(*map(_descendants, children))
    return found
