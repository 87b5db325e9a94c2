from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import uvloop

from tests.support import world as worlds
from tests.support.clock import ManualClock
from tests.support.world import World

if TYPE_CHECKING:
    import asyncio


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that a worker runs on in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world with clocks that stand still until a story moves them."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    async with worlds.opened(tmp_path, ManualClock()) as opened:
        yield opened
