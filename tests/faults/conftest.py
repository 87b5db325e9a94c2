from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import world as worlds
from tests.support.world import World


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world whose nodes are processes, to be killed."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    async with worlds.opened(tmp_path) as opened:
        yield opened
