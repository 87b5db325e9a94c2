"""Nodes that give cookies out, and a page that holds one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.support import node as nodes
from tests.support.node import Node
from tests.support.pages import SERVER, Page
from tests.support.upstream import Upstream


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, service: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    """A node that gives cookies out; Redis is empty."""
    del redis
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, server=SERVER)) as running:
        yield running


@pytest_asyncio.fixture
async def other(node: Node) -> AsyncIterator[Node]:
    """Another node of the same gateway, by the same clock."""
    async with nodes.running(node.settings, node.clock) as running:
        yield running


@pytest.fixture
def page() -> Page:
    return Page()
