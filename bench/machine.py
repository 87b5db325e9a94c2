"""Processes under measurement: pinned to a core, watched through /proc, and stopped by their ids."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

OPEN_FILES: Final = 20_000
_PR_SET_PDEATHSIG: Final = 1
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_STOP_S: Final = 5


@dataclass(frozen=True, slots=True)
class Cores:
    """The two cores of a measurement: one for the system measured, the other for the load and the service."""

    gateway: int
    load: int

    @classmethod
    def take(cls) -> Cores:
        """The last two cores this process may use; the first of a machine has most of the interrupts.

        Raises:
            SystemExit: there is only one.
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
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A started program with whatever it started itself."""

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
        """Whether it still runs."""
        return self.process.poll() is None


@contextlib.contextmanager
def started(command: Command, core: int, log: Path) -> Iterator[Running]:
    """Run a program on one core until the block ends; it dies with this process, too."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.env},
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_on_core(core),  # noqa: PLW1509 - system calls only, and one thread
        )
    try:
        yield Running(process)
    finally:
        _stop(process)


def run_on(core: int, argv: Sequence[str], timeout_s: float) -> str:
    """Run a program to its end on one core.

    Returns:
        Its standard output.

    Raises:
        RuntimeError: it failed or took longer than `timeout_s`.
    """
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
            preexec_fn=_on_core(core),  # noqa: PLW1509 - as above
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{argv[0]} did not end within {timeout_s:g} s") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{argv[0]} failed: {error.stderr.strip()}") from error
    return done.stdout


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _on_core(core: int) -> object:
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
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
        # The second field is the name in parentheses, which may hold spaces; utime and stime are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
