"""What all tests share: one stack, and no skipping where everything has to be there."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import TYPE_CHECKING, Final, TypeVar

import pytest
from hypothesis import settings

from tests.support import redis_groups
from tests.support.stack import running_stack

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from contextlib import AbstractAsyncContextManager

    from tests.support.redis_groups import Cluster
    from tests.support.stack import Stack

pytest_plugins = ["tests.support.processes"]

NOTHING_IS_SKIPPED: Final = os.environ.get("CI") == "true"

# No property is about speed: a busy machine must not fail one.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

T = TypeVar("T")
QUARANTINED: Final = 3
RARELY: Final = (50_000, 20, 100)
"""For `gc.set_threshold`."""

SomeReport = TypeVar("SomeReport", pytest.TestReport, pytest.CollectReport)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quarantine: a `flaky` test runs and is reported, and does not decide; there are at most `QUARANTINED` of them."""
    quarantined = {getattr(item, "originalname", item.name) for item in items if item.get_closest_marker("flaky")}
    if len(quarantined) > QUARANTINED:
        raise pytest.UsageError(f"at most {QUARANTINED} tests may be in quarantine: {sorted(quarantined)}")
    for item in items:
        if (flaky := item.get_closest_marker("flaky")) is not None:
            item.add_marker(pytest.mark.xfail(reason=f"quarantine: {flaky.kwargs['reason']}", strict=False))


def pytest_collection_finish() -> None:
    """Keep the garbage collector from what lives as long as the run: modules and collected tests.

    They are most of all objects; to walk them again and again took a fifth of the run.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*RARELY)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything running, with demo data and two gateway workers; started once for all tests that only talk to it.

    Tests that kill a part of a stack or change its configuration start their own with `running_stack`.
    """
    with running_stack(tmp_path_factory.mktemp("stack"), "--workers", "2") as running:
        yield running


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three real Redis masters that live as long as the test run."""
    with asyncio.Runner() as runner:
        made = redis_groups.cluster(tmp_path_factory.mktemp("cluster"))
        yield runner.run(enter(made))
        runner.run(leave(made))


async def enter(made: AbstractAsyncContextManager[T]) -> T:
    return await made.__aenter__()


async def leave(made: AbstractAsyncContextManager[object]) -> None:
    await made.__aexit__(None, None, None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure is reported as skipped too, and is none. Data of other projects may be missing.
    exempt = hasattr(report, "wasxfail") or item.get_closest_marker("foreign_data") is not None
    return report if exempt else _unskipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """For modules that skip themselves as a whole."""
    return _unskipped((yield))


def _unskipped(report: SomeReport) -> SomeReport:
    if NOTHING_IS_SKIPPED and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"with CI=true nothing may be skipped; this was: {reason}"
    return report
