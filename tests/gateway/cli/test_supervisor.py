from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lockgate.cli.process import child_environment
from lockgate.cli.supervisor import Child, ChildFailedError, Pace, Supervisor
from lockgate.errors import ConfigurationError, LockgateError
from tests.support.commands import WITHIN_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

pytestmark = pytest.mark.stack

RUNS = "import os, pathlib, signal, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); signal.pause()"
FAILS = "import sys; print('first line'); print('no room left'); sys.exit(3)"
STUBBORN = (
    "import os, pathlib, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\nwhile True: signal.pause()"
)
QUICK = Pace(first_s=0.01, most_s=0.05)


class Stack:
    """A supervisor that runs in the background of a test, and what it says."""

    def __init__(self, children: Collection[Child]) -> None:
        self.said: list[tuple[str, str]] = []
        self.ready = asyncio.Event()
        self._news = asyncio.Event()
        self.supervisor = Supervisor(children, say=self._hear, pace=QUICK)
        self.running = asyncio.create_task(self.supervisor.run(self.ready.set))

    def _hear(self, name: str, text: str) -> None:
        self.said.append((name, text))
        self._news.set()

    async def heard(self, name: str, part: str) -> str:
        async with asyncio.timeout(WITHIN_S):
            while True:
                self._news.clear()
                for who, text in self.said:
                    if who == name and part in text:
                        return text
                await self._news.wait()

    async def end(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            await self.running

    def names(self, text: str) -> list[str]:
        return [name for name, said in self.said if said == text]


@contextlib.asynccontextmanager
async def stack(*children: Child) -> AsyncIterator[Stack]:
    running = Stack(children)
    try:
        yield running
    finally:
        running.supervisor.stop()
        with contextlib.suppress(LockgateError):
            await running.end()


def child(name: str, folder: Path, code: str = RUNS) -> Child:
    """A child that is ready when it has written its pid into a file of its name."""
    mark = folder / name

    async def is_marked() -> bool:
        return mark.exists() and bool(mark.read_text())

    argv = (sys.executable, "-c", code, str(mark))
    return Child(name, argv, child_environment(), is_marked, log=folder / f"{name}.log")


def pid_of(name: str, folder: Path) -> int:
    return int((folder / name).read_text())


def block_until_ended(pid: int) -> None:
    """Block the loop until a child has ended; its exit status stays to be read."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def test_a_child_is_started_when_what_it_needs_is_ready(tmp_path: Path) -> None:
    gateway = replace(child("gateway", tmp_path), needs=frozenset({"redis"}))
    async with stack(gateway, child("redis", tmp_path)) as running:
        await running.heard("gateway", "ready")
    assert running.names("ready") == ["redis", "gateway"]


async def test_readiness_is_announced_when_every_essential_child_is_ready(tmp_path: Path) -> None:
    extra = replace(child("extra", tmp_path, FAILS), essential=False)
    async with stack(child("a", tmp_path), child("b", tmp_path), extra) as running:
        async with asyncio.timeout(WITHIN_S):
            await running.ready.wait()
        assert sorted(running.names("ready")) == ["a", "b"]


@pytest.mark.fault
async def test_a_killed_child_is_restarted_and_it_is_said(tmp_path: Path) -> None:
    async with stack(child("orders", tmp_path)) as running:
        await running.heard("orders", "ready")
        first = pid_of("orders", tmp_path)
        (tmp_path / "orders").unlink()
        os.kill(first, signal.SIGKILL)
        await running.heard("orders", "is back")
        assert pid_of("orders", tmp_path) != first
    assert ("orders", "killed by SIGKILL, restarting in 0.0 s") in running.said


async def test_children_stop_when_those_that_use_them_are_gone(tmp_path: Path) -> None:
    gateway = replace(child("gateway", tmp_path), needs=frozenset({"redis"}), uses=frozenset({"orders", "products"}))
    orders = replace(child("orders", tmp_path), uses=frozenset({"products"}))
    async with stack(child("redis", tmp_path), child("products", tmp_path), orders, gateway) as running:
        async with asyncio.timeout(WITHIN_S):
            await running.ready.wait()
        running.supervisor.stop()
        await running.end()
    stopped = running.names("stopped")
    assert sorted(stopped) == ["gateway", "orders", "products", "redis"]
    assert stopped[0] == "gateway"
    assert stopped.index("orders") < stopped.index("products")


async def test_a_start_without_an_essential_child_fails_with_its_last_lines_and_stops_the_rest(tmp_path: Path) -> None:
    async with stack(child("redis", tmp_path), child("users", tmp_path, FAILS)) as running:
        with pytest.raises(ChildFailedError, match=r"(?s)users did not start: exit code 3.*no room left"):
            await running.end()
    assert not running.ready.is_set()
    assert "users" not in running.names("ready")


async def test_a_child_that_cannot_start_as_it_is_configured_is_a_configuration_error_in_its_own_words(
    tmp_path: Path,
) -> None:
    complains = "import sys; print('starting'); print('USERS_PORT: not a port'); sys.exit(2)"
    async with stack(child("users", tmp_path, complains)) as running:
        with pytest.raises(ConfigurationError, match=r"^users did not start: USERS_PORT: not a port$"):
            await running.end()


async def test_a_child_that_is_not_essential_is_tried_again_and_shows_its_last_lines(tmp_path: Path) -> None:
    extra = replace(child("extra", tmp_path, FAILS), essential=False)
    async with stack(extra) as running:
        said = await running.heard("extra", "restarting in 0.1 s")
    assert "exit code 3" in said
    assert said.splitlines()[1:] == ["    first line", "    no room left"]


async def test_a_child_that_does_not_become_ready_in_time_is_a_failed_start(tmp_path: Path) -> None:
    silent = replace(child("silent", tmp_path, "import signal; signal.pause()"), start_s=0.3)
    async with stack(silent) as running:
        with pytest.raises(ChildFailedError, match=r"silent did not start: not ready in 0\.3 s"):
            await running.end()


async def test_a_program_that_does_not_exist_is_a_failed_start(tmp_path: Path) -> None:
    missing = replace(child("missing", tmp_path), argv=(str(tmp_path / "nothing"),))
    async with stack(missing) as running:
        with pytest.raises(ChildFailedError, match="missing did not start: cannot be run"):
            await running.end()


async def test_a_child_that_does_not_stop_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = replace(child("stubborn", tmp_path, STUBBORN), grace_s=0.1)
    async with stack(stubborn) as running:
        await running.heard("stubborn", "ready")
        running.supervisor.stop()
        await running.end()
    assert running.names("did not stop within 0.1 s, killing it") == ["stubborn"]


async def test_a_second_stop_kills_at_once(tmp_path: Path) -> None:
    stubborn = replace(child("stubborn", tmp_path, STUBBORN), grace_s=10 * WITHIN_S)
    async with stack(stubborn) as running:
        await running.heard("stubborn", "ready")
        running.supervisor.stop()
        running.supervisor.stop()
        await running.end()
    assert running.names("stopped") == ["stubborn"]


async def test_a_child_that_ended_before_it_was_told_to_is_said_to_have_stopped(tmp_path: Path) -> None:
    async with stack(child("orders", tmp_path)) as running:
        await running.heard("orders", "ready")
        running.supervisor.stop()
        os.kill(pid_of("orders", tmp_path), signal.SIGKILL)
        # When the loop turns again, the child is gone and no SIGTERM was sent to it yet.
        block_until_ended(pid_of("orders", tmp_path))
        await running.end()
    assert running.names("stopped") == ["orders"]


async def test_a_stop_during_the_start_stops_what_has_been_started(tmp_path: Path) -> None:
    silent = replace(child("silent", tmp_path, "import signal; signal.pause()"))
    waiting = replace(child("waiting", tmp_path), needs=frozenset({"silent"}))
    async with stack(silent, waiting, child("other", tmp_path)) as running:
        await running.heard("other", "ready")
        running.supervisor.stop()
        await running.end()
    assert sorted(running.names("stopped")) == ["other", "silent"]
    assert not running.ready.is_set()


def test_the_pause_before_a_restart_doubles_up_to_a_limit() -> None:
    pace = Pace(first_s=1, most_s=5, stable_s=10)
    pauses = [0.0]
    for _ in range(4):
        pauses.append(pace.after(pauses[-1], lived_s=2))
    assert pauses[1:] == [1, 2, 4, 5]


def test_the_pause_is_the_first_one_again_after_a_stable_time() -> None:
    assert Pace(first_s=1, most_s=5, stable_s=10).after(4, lived_s=10) == 1
