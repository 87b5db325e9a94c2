from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from lockgate.cli.process import Process, child_environment, describe_exit, python_module, run_program
from tests.support.commands import WITHIN_S, Ending

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.stack

WAITS = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
LEAVES_ONE_BEHIND = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAITS!r}]).stdout"


def python(code: str, log: Path | None = None) -> Process:
    return run_program((sys.executable, "-c", code), env=child_environment(), log=log)


async def ended(process: Process) -> int:
    return await asyncio.wait_for(process.ended, WITHIN_S)


async def first_line(log: Path) -> str:
    async with asyncio.timeout(WITHIN_S):
        while (line := written_line(log)) is None:  # noqa: ASYNC110 - a file sets no event
            await asyncio.sleep(0.01)
    return line


def written_line(log: Path) -> str | None:
    text = log.read_text() if log.exists() else ""
    return text.splitlines()[0] if "\n" in text else None


async def test_the_return_code_is_known_when_it_has_ended() -> None:
    assert await ended(python("raise SystemExit(7)")) == 7


@pytest.mark.fault
async def test_a_kill_is_told_by_the_name_of_its_signal() -> None:
    process = python(WAITS)
    process.signal(signal.SIGKILL)
    assert describe_exit(await ended(process)) == "killed by SIGKILL"


async def test_it_runs_in_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it() -> None:
    process = python(WAITS)
    try:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
    finally:
        process.kill()
        await ended(process)


async def test_what_it_leaves_behind_in_its_group_goes_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = python(f"{LEAVES_ONE_BEHIND}; import signal; signal.pause()", log)
    left_behind = Ending(int(await first_line(log)))
    process.signal(signal.SIGTERM)
    await ended(process)
    assert left_behind.survivors() == set()


async def test_the_last_lines_are_those_of_this_run_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("from the time before\n")
    process = python("for number in range(100): print(number)", log)
    await ended(process)
    assert process.last_lines() == [str(number) for number in range(90, 100)]


async def test_a_signal_to_one_that_has_ended_is_nothing() -> None:
    process = python("pass")
    await ended(process)
    process.signal(signal.SIGTERM)
    process.kill()


async def test_a_module_is_that_of_this_installation_whatever_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lockgate").mkdir()
    (tmp_path / "lockgate" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    process = run_program(python_module("lockgate.cli", "--help"), env=child_environment(), log=tmp_path / "log")
    assert await ended(process) == 0
