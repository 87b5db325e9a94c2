from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.settings import TokenSettings
from tests.gateway.sessions.rig import Node
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def token() -> TokenSettings:
    return TokenSettings()


@pytest_asyncio.fixture
async def node(redis: Redis, tmp_path: Path, clock: ManualClock, token: TokenSettings) -> AsyncIterator[Node]:
    """A node's sessions on an empty Redis."""
    made = Node(redis, tmp_path / "keys", clock, token)
    await made.link.open()
    yield made
    await made.link.close()
