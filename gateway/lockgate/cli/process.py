"""One child process: tied to its parent's life, watched without a thread, reaped exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_LAST_LINES: Final = 10
_LAST_BYTES: Final = 16 * 1024


class Process:
    """A running child, in a session of its own so that a terminal's Ctrl-C reaches only the parent.

    When the parent dies, by any signal, the child gets SIGTERM. Must be made inside a running event loop.

    Args:
        pid: a child of this process that is not reaped yet.
        wait: reaps the child when it has ended, and returns its return code.
        log: the file that its output is appended to; `None`: the output of the parent.
        log_start: the size of that file before the child was started.

    Attributes:
        pid: process id, which is also that of its process group.
        ended: done when the child is gone; its result is the return code, negative for the signal that killed it.
    """

    def __init__(self, pid: int, wait: Callable[[], int], *, log: Path | None = None, log_start: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self.pid = pid
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._wait = wait
        self._log = log
        self._log_start = log_start
        self._watch_child()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child; to an ended child, nothing is sent."""
        with contextlib.suppress(ProcessLookupError):
            if not self.ended.done():
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL to the child and to all processes in its process group."""
        # macOS refuses to signal a group that consists of a zombie.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if not self.ended.done():
                os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self) -> list[str]:
        """The last lines that the child has written to its log since its start."""
        if self._log is None:
            return []
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, size - _LAST_BYTES))
                return file.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
        except OSError:
            return []

    def _watch_child(self) -> None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            # Not Linux, or one older than 5.3: a thread waits instead.
            self._loop.run_in_executor(None, self._wait).add_done_callback(lambda _: self._reap_child())
        else:
            self._loop.add_reader(descriptor, self._reap_child, descriptor)

    def _reap_child(self, descriptor: int | None = None) -> None:
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        # Processes left in its group are killed, too; before the reaping, until which no other process can get the
        # child's id.
        self.kill()
        self.ended.set_result(self._wait())


def run_program(
    argv: Sequence[str], *, env: Mapping[str, str], fds: Sequence[int] = (), log: Path | None = None
) -> Process:
    """Start a program as a child. The kernel ties the child to the *thread* that started it: main thread only.

    Args:
        argv: the program and its arguments.
        env: the environment of the child, with nothing inherited besides.
        fds: descriptors that the child inherits besides the standard ones.
        log: the file that its output is appended to; `None`: the output of the parent.

    Raises:
        OSError: the program cannot be started, or the log cannot be written.
    """
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab")) if log else None
        log_start = output.tell() if output else 0
        popen = subprocess.Popen(  # noqa: S603 - callers choose the program, never a request
            argv,
            env=env,
            pass_fds=tuple(fds),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
            preexec_fn=tied_to(os.getpid()),  # noqa: PLW1509 - two system calls, no lock is taken
        )
    return Process(popen.pid, popen.wait, log=log, log_start=log_start)


def python_module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of this installation; wants `child_environment`."""
    # -P: a folder called `lockgate` in the working folder must not be taken for the package.
    return (sys.executable, "-P", "-m", name, *arguments)


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a child: that of the parent with more variables, and output that is not buffered."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **more}


def describe_exit(code: int) -> str:
    """A return code in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def name_process(name: str) -> None:
    """Show this process by a name of at most 15 characters in the list of processes; Linux."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def tied_to(parent: int) -> Callable[[], None] | None:
    """What a child calls first, to get SIGTERM when its parent dies; `None` where the system has no such thing.

    Args:
        parent: the process id of the parent that it is to have.
    """
    if sys.platform != "linux":
        # Elsewhere children outlive a parent that is killed with SIGKILL; every other end of it stops them in order.
        return None
    prctl = ctypes.CDLL(None).prctl

    def tie_to_parent() -> None:
        # A parent that died before the first call will send no signal any more; then another process is the parent now.
        if prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM)) != 0 or os.getppid() != parent:
            os._exit(1)

    return tie_to_parent
