"""Processes under measurement: pinned to a core, watched through /proc, and stopped by their ids."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
"""Everything measured listens here."""
_PR_SET_PDEATHSIG: Final = 1
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_STOP_S: Final = 5
_LISTENING: Final = "0A"
"""The state of a listening socket in /proc/net/tcp."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The two cores of a measurement: one for the system measured, the other for the load and the service."""

    gateway: int
    load: int

    @classmethod
    def take(cls) -> Cores:
        """The last two cores this process may use; the first of a machine has most of the interrupts.

        Raises:
            SystemExit: this process has one core only.
        """
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:  # noqa: PLR2004 - one for each side
            raise SystemExit("the bench needs two cores")
        return cls(gateway=usable[-1], load=usable[-2])


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run.

    Attributes:
        argv: the program and its arguments.
        env: added to the environment.
        folder: where it is started.
        port: where it listens when it is ready, if others need it.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A started program with all programs that it started itself."""

    process: subprocess.Popen[bytes]

    @property
    def pids(self) -> list[int]:
        """The process ids of the program and its descendants."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for children in Path(f"/proc/{pid}/task").glob("*/children"):
                    found += [int(child) for child in children.read_text().split()]
        return found

    def cpu_s(self) -> float:
        """Processor time used so far, user and system, in seconds."""
        return sum(_cpu_s(pid) for pid in self.pids)

    def memory(self) -> int:
        """Proportional set size in bytes: private pages, and a fair share of those that are shared."""
        return sum(_pss(pid) for pid in self.pids)

    def alive(self) -> bool:
        """Whether the program still runs."""
        return self.process.poll() is None


@contextlib.contextmanager
def started(command: Command, core: int | None, log: Path) -> Iterator[Running]:
    """Run a program on one core (`None`: on any) until the block ends; it dies with this process, too."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.env},
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_on_core(core),  # noqa: PLW1509 - one thread here, and system calls only
        )
    try:
        yield Running(process)
    finally:
        _stop(process)


def run_on(
    core: int | None, argv: Sequence[str], timeout_s: float, *, halfway: Callable[[], None] | None = None
) -> str:
    """Run a program to its end on one core.

    Args:
        core: its number; `None` for any.
        argv: the program and its arguments.
        timeout_s: how long it may take before it is killed.
        halfway: called once, while it runs.

    Returns:
        Its standard output.

    Raises:
        RuntimeError: the program failed or took too long.
    """
    pipe = subprocess.PIPE
    prepare = _on_core(core)
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, preexec_fn=prepare) as process:  # noqa: PLW1509
        try:
            if halfway:
                halfway()
            output, errors = process.communicate(timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"{argv[0]} failed: {errors.strip() or output.strip()}")
    return output


def busy_s(core: int) -> float:
    """How long a core has worked since the machine started, for all processes, in seconds."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            idle, waiting, guest = int(fields[3]), int(fields[4]), int(fields[8])
            return (sum(map(int, fields)) - idle - waiting - guest) / _TICKS_PER_S
    raise ValueError(f"no core {core}")


def free_port() -> int:
    """A port on which no program listens at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def ports_in_a_row(number: int) -> int:
    """The first of several ports in a row on which no program listens at this moment."""
    # Below the ports that the kernel gives to a program that asks for any.
    for first in range(20_000 + os.getpid() % 500 * number, 32_000, number):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + number):
                stack.enter_context(socket.create_server((HOST, port)))
            return first
    raise RuntimeError("no free ports")


def listener_of(pids: Sequence[int], port: int) -> int | None:
    """The last of some processes that has a listening socket on a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = f"{port:04X}"
    wanted = {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTENING and row[1].endswith(f":{own}")}
    for pid in reversed(pids):
        with contextlib.suppress(OSError):
            if any(str(path.readlink()) in wanted for path in Path(f"/proc/{pid}/fd").iterdir()):
                return pid
    return None


def _on_core(core: int | None) -> Callable[[], None]:
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if core is not None:
            os.sched_setaffinity(0, {core})

    return prepare


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cpu_s(pid: int) -> float:
    try:
        # The clock of another process's time, in nanoseconds (clock_getcpuclockid); /proc has hundredths of a second.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
