"""Ended sessions and revoked tokens stay so when a master or a gateway fails (R-220)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support import node as nodes
from tests.support import redis_groups
from tests.support import upstream as upstreams
from tests.support.failovers import GATEWAY_FAULTS, MASTER_FAULTS, PEOPLE, Failovers, Round
from tests.support.shop_rig import Users

pytestmark = [pytest.mark.fault, pytest.mark.slow]

MANY: Final = int(os.environ.get("FAILOVERS", "52"))
ENOUGH: Final = 20
"""Acknowledged ends soon after a switch; with fewer a round proves nothing."""
ROUNDS: Final = 3
"""How many there may be until one counts."""
UNLIMITED: Final = dict.fromkeys(
    ("account_attempts", "address_attempts", "all_attempts", "address_limit", "refresh_limit"), 100_000
)


@pytest_asyncio.fixture
async def failovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Failovers]:
    monkeypatch.delenv("REDIS_URL", raising=False)
    async with (
        redis_groups.sentinel_group(tmp_path) as group,
        upstreams.running(Users({f"id-{name}": "active" for name in PEOPLE}).script()) as service,
        AsyncExitStack() as stack,
    ):
        sections = {"store": {"wait_replicas": 1}, "login": UNLIMITED, "log": {"access": False}}
        gateways = [
            await asyncio.to_thread(stack.enter_context, nodes.process(tmp_path, url, service.url, **sections))
            for url in (group.url, group.named_url)
        ]
        yield Failovers(group, (gateways[0], gateways[1]))


async def hold(failovers: Failovers, number: int) -> None:
    """So many fail-overs of every kind: nothing is accepted after its end was acknowledged, and nothing is lost.

    A round that could show nothing is followed by another of its kind; a violation counts in any round.
    """
    rounds: list[Round] = []
    counted: list[Round] = []
    pairs = ((fault, gateway) for gateway in cycle(GATEWAY_FAULTS) for fault in MASTER_FAULTS)
    for fault, gateway_fault in islice(pairs, number):
        for _ in range(ROUNDS):
            rounds.append(await failovers.run(fault, gateway_fault))
            print(rounds[-1], flush=True)  # noqa: T201 - figures, shown by pytest -rP
            assert not rounds[-1].found, "\n".join(rounds[-1].found[:10])
            if counts(rounds[-1]):
                counted.append(rounds[-1])
                break
    ends = sum(each.ends_soon_after for each in counted)
    print(f"{len(counted)} of {len(rounds)} counted, {ends} ends soon after a switch")  # noqa: T201 - figures
    assert len(counted) == number
    assert max(each.outage_s for each in counted) < 3


@pytest.mark.parametrize("fault", ["freeze", "unwatch"])
async def test_nothing_that_was_ended_is_accepted_after_a_fail_over(failovers: Failovers, fault: str) -> None:
    """R-220: the master is frozen, or only the Sentinels cannot reach it; both go on as masters."""
    rounds: list[Round] = []
    while len(rounds) < ROUNDS and not any(counts(each) for each in rounds):
        rounds.append(await failovers.run(fault, "freeze"))
        print(rounds[-1])  # noqa: T201 - figures
        assert not rounds[-1].found, "\n".join(rounds[-1].found[:10])
    assert counts(rounds[-1])
    assert rounds[-1].outage_s < 3


def counts(made: Round) -> bool:
    """Whether it could have shown something: a busy machine may leave too few ends after the switch."""
    return made.ends_soon_after >= ENOUGH


@pytest.mark.long
@pytest.mark.timeout(3000)
async def test_nothing_that_was_ended_is_accepted_in_many_fail_overs(failovers: Failovers) -> None:
    """R-220: frozen, killed and cut off, with gateways frozen and cut off from the Sentinels."""
    await hold(failovers, MANY)
