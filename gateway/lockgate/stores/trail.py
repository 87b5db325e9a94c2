"""The audit trail in Redis: a stream, capped by length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.stores.command_link import CommandLink
from lockgate.stores.layout import AUDIT_STREAM
from lockgate.stores.link import Command
from lockgate.stores.redis import store_errors
from lockgate_common.redis.client import RedisClient


class AuditTrail:
    """Keeps the latest events, and reads them.

    Args:
        redis: where the stream is.
        length: about how many are kept.
        link: of own calls, where there is one.
    """

    def __init__(self, redis: RedisClient, length: int, link: CommandLink | None = None) -> None:
        self._redis = redis
        self._link = link
        self._length = length

    async def append(self, entries: Sequence[Mapping[str, str]]) -> None:
        """Keep events, in this order.

        Raises:
            StoreUnavailableError: Redis did not confirm; some may have been kept.
        """
        with store_errors():
            if self._link is not None:
                await self._link.run_all([self._append_command(entry) for entry in entries])
                return
            async with self._redis.pipeline(transaction=False) as pipe:
                for entry in entries:
                    facts: dict[Any, Any] = dict(entry)
                    pipe.xadd(AUDIT_STREAM, facts, maxlen=self._length, approximate=True)
                await pipe.execute()

    def _append_command(self, entry: Mapping[str, str]) -> Command:
        facts = (part for pair in entry.items() for part in pair)
        return ("XADD", AUDIT_STREAM, "MAXLEN", "~", self._length, "*", *facts)

    async def latest(self, count: int, before: str | None = None) -> list[dict[str, str]]:
        """Events, newest first, each with its `id`.

        Args:
            count: how many at most.
            before: the `id` of an event; only older ones are read.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        with store_errors():
            found: Any = await self._redis.xrevrange(AUDIT_STREAM, max=f"({before}" if before else "+", count=count)
        return [
            {"id": _text(entry), **{_text(name): _text(value) for name, value in facts.items()}}
            for entry, facts in found
        ]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
