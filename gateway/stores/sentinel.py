"""The master that Redis Sentinels know: found by what most of them say, and asked for again on each connection."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

ANSWER_S: Final = 0.3
"""How long one Sentinel may take. They are asked together, so those that are away cost no more than that in all."""


class Sentinels(Sentinel):
    """Knows the master by the latest configuration that a majority of Sentinels tells of.

    redis-py asks one after the other and believes the first: whoever is cut off from the others would go on naming a
    master that has been replaced, and revocations made at the new one would not be seen.
    """

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Address of the master.

        Raises:
            MasterNotFoundError: most Sentinels did not answer or do not know it, or all that know the latest one hold
                it for down.
        """
        answers = await asyncio.gather(*(one.sentinel_masters() for one in self.sentinels), return_exceptions=True)
        known: list[dict[str, Any]] = [
            answer[service_name] for answer in answers if isinstance(answer, dict) and service_name in answer
        ]
        if 2 * len(known) <= len(self.sentinels):
            raise MasterNotFoundError(f"{len(known)} of {len(self.sentinels)} Sentinels know the master")
        latest = max(state["config-epoch"] for state in known)
        for state in known:
            if state["config-epoch"] == latest and self.check_master_state(state, service_name):
                return str(state["ip"]), int(state["port"])
        raise MasterNotFoundError("the master is down")


class MasterPool(SentinelConnectionPool):
    """Connections to the master; those to the Sentinels are closed with them."""

    async def aclose(self) -> None:
        """Close all of them."""
        await super().aclose()
        await self.sentinel_manager.aclose()
