"""`python -m lockgate_shop.orders.worker`: makes exports, and cleans up after dead processes. Any number may run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING

import structlog

from lockgate_shop.kit import logs
from lockgate_shop.kit.data.jobs import answering, worker
from lockgate_shop.kit.data.migrations import migrate
from lockgate_shop.kit.errors import ConfigurationError, StoreUnavailableError
from lockgate_shop.kit.process.run import loop_factory
from lockgate_shop.kit.settings import read_settings
from lockgate_shop.orders.app import QUEUE, Built, build
from lockgate_shop.orders.exports import JOB
from lockgate_shop.orders.models import SCHEMA
from lockgate_shop.orders.settings import OrdersSettings
from lockgate_trust import LinkKeyError, LiveLinkKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger("service")

NAME = "orders-worker"


def main(arguments: list[str] | None = None) -> int:
    """Do jobs until told to stop.

    Returns:
        The exit code: 0 after SIGTERM or SIGINT, 1 when Redis or the database went away, 2 when it cannot start as it
        is configured.
    """
    given = _parse(arguments)
    try:
        settings = read_settings(OrdersSettings, **{k: v for k, v in given.items() if v is not None})
        logs.configure(NAME, settings.log_level)
        built = build(settings, LiveLinkKeys(settings.link_keys, "orders"), time.time)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_work(settings, built))
    except (ConfigurationError, LinkKeyError) as error:
        return _complain(str(error), 2)
    except StoreUnavailableError as error:
        return _complain(f"the database cannot be used: {error}", 2)
    except Exception as error:  # noqa: BLE001 - whatever streaq meets; who started us starts us again
        return _complain(f"the queue cannot be used: {_innermost(error)}", 1)
    log.info("stopped")
    return 0


async def _work(settings: OrdersSettings, built: Built) -> None:
    async def each_minute() -> None:
        await built.checkouts.sweep()
        await built.exports.sweep()

    doing = worker(
        settings.redis_url, QUEUE, {JOB: built.exports.make}, each_minute=each_minute, idle_s=settings.worker_idle_s
    )
    async with _opened(built), answering(settings.host, settings.worker_port, built.database.check):
        log.info("ready")
        await doing.run_async()


@contextlib.asynccontextmanager
async def _opened(built: Built) -> AsyncIterator[None]:
    try:
        await migrate(built.database, SCHEMA)
        yield
    finally:
        for close in (*built.closing, built.database.close):
            await close()


def _parse(arguments: list[str] | None) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="python -m lockgate_shop.orders.worker", description=__doc__)
    parser.add_argument("--host", help="address on which probes are answered (or ORDERS_HOST)")
    parser.add_argument("--port", type=int, dest="worker_port", help="port for it (or ORDERS_WORKER_PORT)")
    return vars(parser.parse_args(arguments))


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


def _complain(problem: str, code: int) -> int:
    print(f"{NAME}: {problem}", file=sys.stderr)  # noqa: T201 - for the person who starts it
    return code


if __name__ == "__main__":
    sys.exit(main())
