"""A gateway in front of a service that the test plays by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.upstream import Upstream


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Upstream]:
    """A service that the test plays by hand."""
    async with upstreams.running(upstreams.manual()) as running:
        yield running


@pytest_asyncio.fixture
async def gateway(redis_url: str, service: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as running:
        yield running
