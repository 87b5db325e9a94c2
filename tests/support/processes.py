"""A pytest plugin: which tests need other processes, and a check that no other test starts one.

`make quick` runs the tests without the mark `process`. A test gets the mark by hand, through another mark, or through a
fixture that starts a process. A test that starts a process and has no mark fails, so the choice stays true.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

MARK: Final = "process"
_MARKS: Final = ("stack", "fault", "browser", "long")
_FIXTURES: Final = frozenset({"cluster_url", "postgres", "redis_cluster", "redis_url", "seaweed", "stack", "world"})
"""Fixtures that start a process."""
_PARAMETERS: Final = _FIXTURES | {"postgresql", "seaweedfs"}
"""Parameters that make a fixture start one."""
_STARTS: Final = frozenset({"os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"})
"""Audit events of the interpreter."""

_running: list[pytest.Item] = []


def needs_processes(item: pytest.Item) -> bool:
    """Whether a test says that it needs other processes."""
    call = getattr(item, "callspec", None)
    parameters = {value for value in call.params.values() if isinstance(value, str)} if call else set()
    return (
        not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        or not _PARAMETERS.isdisjoint(parameters)
        or any(item.get_closest_marker(mark) for mark in _MARKS)
    )


def pytest_configure() -> None:
    sys.addaudithook(_audit)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if needs_processes(item):
            item.add_marker(MARK)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


def _audit(event: str, _: tuple[object, ...]) -> None:
    # Called for everything that the interpreter audits: the common case ends here.
    if event in _STARTS and _running and _running[-1].get_closest_marker(MARK) is None:
        raise AssertionError(f"{_running[-1].nodeid} starts a process: mark it `{MARK}`")
