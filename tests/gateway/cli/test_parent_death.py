from __future__ import annotations

import os
import signal
import subprocess
from typing import IO

import pytest

from tests.support.commands import WITHIN_S, Ending, started

pytestmark = pytest.mark.stack

SUPERVISED = "tests.support.supervised"


def pids_from(output: IO[str] | None, count: int) -> list[int]:
    assert output is not None
    words: list[str] = []
    while sum(word.isdecimal() for word in words) < count:
        line = output.readline()
        assert line, f"the supervisor ended early, after {words}"
        words.append(line.strip())
    return [int(word) for word in words if word.isdecimal()]


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["idle", "nested"])
def test_nothing_survives_a_parent_that_is_killed(kind: str) -> None:
    with started(SUPERVISED, kind, "2") as parent:
        children = Ending(*pids_from(parent.stdout, 2))
        parent.send_signal(signal.SIGKILL)
        assert children.survivors() == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_stops_everything_and_is_a_clean_end(number: signal.Signals) -> None:
    # The parent of the tests may ignore it, as a shell's job in the background does, and children inherit that.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with started(SUPERVISED, "nested", "2") as parent:
            children = Ending(*pids_from(parent.stdout, 2))
            parent.send_signal(number)
            assert parent.wait(WITHIN_S) == 0
            assert children.survivors() == set()
    finally:
        signal.signal(number, before)


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; children inherit it
    try:
        with started(SUPERVISED, "idle", "1") as parent:
            pids_from(parent.stdout, 1)
            parent.send_signal(signal.SIGHUP)
            with pytest.raises(subprocess.TimeoutExpired):
                parent.wait(0.2)
            parent.send_signal(signal.SIGTERM)
            assert parent.wait(WITHIN_S) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_children_are_not_in_the_foreground_group_of_the_terminal() -> None:
    with started(SUPERVISED, "idle", "1") as parent:
        (pid,) = pids_from(parent.stdout, 1)
        assert os.getpgid(pid) == pid != os.getpgid(parent.pid)
