from __future__ import annotations

from tests.fuzz_edge import fuzz
from tests.support.node import Node
from tests.support.upstream import Upstream


async def test_hostile_bytes_are_answered_and_survived(node: Node, upstream: Upstream) -> None:
    """A short run of `python -m tests.fuzz_edge`, the same each time."""
    statuses = await fuzz(node, upstream, rounds=5000, seed=20)
    assert statuses[200] > 100
    assert statuses[400] > 100
