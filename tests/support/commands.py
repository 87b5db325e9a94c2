"""The command line for tests: the program in this process, and real processes within bounds."""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from lockgate.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = ROOT / "lockgate.toml"
WITHIN_S: Final = 20
"""More than anything here takes on a busy machine; less than a person wants to wait for a failure."""


def called(*arguments: str | Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that does its work and ends, in this process: starting Python takes longer than any of them.

    Args:
        arguments: of the program.
        stdin: what it reads.
        environment: more variables.
    """
    said, errors, code = io.StringIO(), io.StringIO(), None
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", ["lockgate", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            run()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, said.getvalue(), errors.getvalue())


def lockgate(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, as a process of its own."""
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "lockgate.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@contextlib.contextmanager
def started(
    module: str, *arguments: str, fds: tuple[int, ...] = (), errors: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A module as a process with readable output; killed at the end if it has not ended by itself."""
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        pass_fds=fds,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if errors else None,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Ending:
    """Watches processes that are not our children. Made while they live, so that no later owner of a pid is meant."""

    def __init__(self, *pids: int) -> None:
        self._descriptors = {os.pidfd_open(pid): pid for pid in pids}

    def survivors(self, within_s: float = WITHIN_S) -> set[int]:
        """Wait until all of them have ended; the pids of those that have not in time."""
        poll = select.poll()
        for descriptor in self._descriptors:
            poll.register(descriptor, select.POLLIN)
        left = set(self._descriptors)
        while left and (ended := poll.poll(within_s * 1000)):
            for descriptor, _ in ended:
                poll.unregister(descriptor)
                left.remove(descriptor)
        survivors = {self._descriptors[descriptor] for descriptor in left}
        for descriptor in self._descriptors:
            os.close(descriptor)
        return survivors


def heard(supervisor: subprocess.Popen[str], *texts: str) -> list[str]:
    """Read what it says until each text has been said, one that is given twice in two lines; the lines up to there."""
    missing, lines = list(texts), []
    assert supervisor.stderr is not None
    while missing:
        line = supervisor.stderr.readline()
        assert line, f"it ended without a word about {missing}"
        lines.append(line)
        for text in {text for text in missing if text in line}:
            missing.remove(text)
    return lines
