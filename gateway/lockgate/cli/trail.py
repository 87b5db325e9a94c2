"""The audit trail of commands: a line on standard error, and an event in Redis where Redis can be reached."""

from __future__ import annotations

import contextlib
import getpass
import sys
from typing import TYPE_CHECKING

import typer

from lockgate.errors import ConfigurationError
from lockgate.observe.audit import Audit
from lockgate.stores.redis import connect
from lockgate.stores.trail import AuditTrail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from lockgate.clock import Clock
    from lockgate.settings import Settings


def audit_actor() -> str:
    """The operator that runs the command, for the audit trail."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


class _Nowhere:
    """A trail where no Redis is configured; commands that change keys need none."""

    async def append(self, entries: Sequence[Mapping[str, str]]) -> None:
        """Say so."""
        del entries
        raise ConfigurationError("redis_url is not set")


@contextlib.asynccontextmanager
async def open_audit(settings: Settings, clock: Clock) -> AsyncIterator[Audit]:
    """The audit trail of the gateway's own Redis, if one is configured; it need not be reachable."""
    async with contextlib.AsyncExitStack() as stack:
        trail: _Nowhere | AuditTrail = _Nowhere()
        if settings.redis_url is not None:
            redis = connect(settings.redis_url.get_secret_value())
            stack.push_async_callback(redis.aclose)
            trail = AuditTrail(redis, settings.audit.length)
        audit = Audit(trail, clock, sys.stderr)
        stack.push_async_callback(flush_audit, audit)
        yield audit


async def flush_audit(audit: Audit) -> None:
    """Wait until the events are stored, and warn where they are not: the command has taken effect all the same."""
    await audit.flush()
    if audit.waiting_count:
        typer.echo("lockgate: this is not in the audit trail in Redis; only the lines above have it", err=True)
