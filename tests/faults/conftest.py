from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lockgate.app.worker import ADMISSION_TIMEOUT_S
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support import world as worlds
from tests.support.node import Node
from tests.support.raw import WITHIN_S
from tests.support.store import Store
from tests.support.upstream import Upstream
from tests.support.world import World


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "redis")


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with upstreams.running(upstreams.recorder()) as service:
        yield service


@pytest_asyncio.fixture
async def node(
    store: Store, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Node]:
    """A worker that has found its Redis."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    await store.start()
    settings = nodes.settings(tmp_path, store.url, upstream.url)
    async with nodes.running(settings, admission_timeout_s=ADMISSION_TIMEOUT_S) as running:
        yield running
    store.kill()


@pytest_asyncio.fixture
async def patient_node(
    store: Store, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Node]:
    """A worker with an admission that waits longer for Redis than a test waits for a response.

    A response that arrives has waited for no time-out, however slow the machine is.
    """
    monkeypatch.delenv("REDIS_URL", raising=False)
    await store.start()
    settings = nodes.settings(tmp_path, store.url, upstream.url)
    async with nodes.running(settings, admission_timeout_s=10 * WITHIN_S) as running:
        yield running
    store.kill()


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world with nodes that are processes, to be killed."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    async with worlds.opened(tmp_path) as opened:
        yield opened
