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
from lockgate_shop.kit.data.jobs import create_worker, serve_probes
from lockgate_shop.kit.data.migrations import migrate_database
from lockgate_shop.kit.errors import ConfigurationError, StoreUnavailableError
from lockgate_shop.kit.process.run import loop_factory
from lockgate_shop.kit.settings import read_settings
from lockgate_shop.orders.app import QUEUE, Built, build_objects
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
    given = _parse_arguments(arguments)
    try:
        settings = read_settings(OrdersSettings, **{k: v for k, v in given.items() if v is not None})
        logs.configure_service_logs(NAME, settings.log_level)
        built = build_objects(settings, LiveLinkKeys(settings.link_keys, "orders"), time.time)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_run_jobs(settings, built))
    except (ConfigurationError, LinkKeyError) as error:
        return _report_failure(str(error), 2)
    except StoreUnavailableError as error:
        return _report_failure(f"the database cannot be used: {error}", 2)
    except Exception as error:  # noqa: BLE001 - any fault of streaq; the supervisor restarts the worker
        return _report_failure(f"the queue cannot be used: {_innermost_name(error)}", 1)
    log.info("stopped")
    return 0


async def _run_jobs(settings: OrdersSettings, built: Built) -> None:
    async def each_minute() -> None:
        await built.checkouts.sweep_checkouts()
        await built.exports.sweep_exports()

    doing = create_worker(
        settings.redis_url,
        QUEUE,
        {JOB: built.exports.make_export},
        each_minute=each_minute,
        idle_s=settings.worker_idle_s,
    )
    async with _open_objects(built), serve_probes(settings.host, settings.worker_port, built.database.check_connection):
        log.info("ready")
        await doing.run_async()


@contextlib.asynccontextmanager
async def _open_objects(built: Built) -> AsyncIterator[None]:
    try:
        await migrate_database(built.database, SCHEMA)
        yield
    finally:
        for close in (*built.closing, built.database.close):
            await close()


def _parse_arguments(arguments: list[str] | None) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="python -m lockgate_shop.orders.worker", description=__doc__)
    parser.add_argument("--host", help="address on which probes are answered (or ORDERS_HOST)")
    parser.add_argument("--port", type=int, dest="worker_port", help="port for it (or ORDERS_WORKER_PORT)")
    return vars(parser.parse_args(arguments))


def _innermost_name(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


def _report_failure(problem: str, code: int) -> int:
    print(f"{NAME}: {problem}", file=sys.stderr)  # noqa: T201 - for the operator
    return code


if __name__ == "__main__":
    sys.exit(main())
