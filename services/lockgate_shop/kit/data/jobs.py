"""Jobs: work that is done after the response, by another process, also when a process that did it is killed.

A job, such as an export, may take longer than a request. It must be finished once, also when its worker is killed.
Redis may forget a queue; the database may not forget what a 202 promised. So a job is a row in the service's database:
the user, the progress, the number of attempts, the end. The queue (streaq) carries a name and the id of the row, and
only wakes a worker. A worker that gets a job a second time finds the row ended and does nothing; the file is written
from its beginning each time, under the same name, and ending the row is one conditional update. So neither the queue
nor the worker has to be exact. An unfinished job of which nothing was heard for five minutes is put into the queue
again, and after five attempts it has failed.

Three things about streaq:

- Its default serialiser is pickle, so ours is JSON.
- Its queue name is in braces, so that all keys of a queue are in one slot of a Cluster.
- Its client (coredis, a second Redis client) binds a pool to the task that opened it, so putting a job opens a
  connection of its own, which takes 10 ms.

A worker killed with SIGKILL in the middle of its upload, with one second of allowed silence: the second worker
finishes the export in the second attempt, and every order is in the file once; 5.5 s from the request to the file,
with the start of both workers (`tests/faults/test_worker_killed.py`). With the default of 30 s of silence it takes up
to a minute.

A worker that loses Redis ends with exit code 1, and its supervisor starts it again. A rule of the bucket removes the
files below `exports/`; the row is dropped after seven days.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

import structlog

from lockgate_common.redis.address import CLUSTER, Group, Server, read_address
from lockgate_common.redis.client import connect, tls_context
from lockgate_common.redis.faults import REDIS_FAULTS
from lockgate_shop.kit.errors import LockgateError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

log = structlog.get_logger("service")

Job: TypeAlias = "Callable[[UUID], Awaitable[None]]"
"""Does one piece of work. A `LockgateError` out of it means: again, a little later. It says itself when to give up."""

PUT_WITHIN_S: Final = 2
JOB_WITHIN: Final = timedelta(minutes=10)
RETRY_S: Final = 5
MAX_TRIES: Final = 20
"""The queue's own limit, for a job that does not even get to say that it gives up."""


class Queue:
    """Where jobs are put.

    Args:
        redis_url: where the queue is.
        name: of the queue.
    """

    def __init__(self, redis_url: str, name: str) -> None:
        self._redis_url = redis_url
        self._name = name

    async def put_job(self, job: str, job_id: UUID) -> None:
        """Have a job done; one that is waiting or under way already is not done once more.

        Raises:
            StoreUnavailableError: Redis did not take it.
        """
        # 0.7 s of imports the first time, which a service that puts no job does not pay; off the event loop.
        await asyncio.to_thread(importlib.import_module, "streaq")
        queue = _streaq_queue(self._redis_url, self._name)
        try:
            # A connection of its own for each: jobs are rare, and coredis ties a pool to the task that opened it.
            async with asyncio.timeout(PUT_WITHIN_S), queue:
                task = queue.enqueue_unsafe(job, str(job_id))
                task.id = job_id.hex
                await task
        except (OSError, TimeoutError, _redis_error(), ExceptionGroup) as error:
            raise StoreUnavailableError(f"queue: {type(error).__name__}") from error


def create_worker(
    redis_url: str, name: str, jobs: Mapping[str, Job], *, each_minute: Callable[[], Awaitable[None]], idle_s: float
) -> Any:  # noqa: ANN401 - a streaq Worker, imported where it is needed
    """What does the jobs of a queue, by `await worker.run_async()`, until SIGTERM or SIGINT.

    Args:
        redis_url: where the queue is.
        name: of the queue.
        jobs: by name.
        each_minute: done once a minute by one of all workers.
        idle_s: a worker that gave no sign of life for so long is taken for dead, and its jobs are given to others.
    """
    retry = importlib.import_module("streaq").StreaqRetry
    made = _streaq_queue(redis_url, name, idle_timeout=idle_s, grace_period=round(idle_s), concurrency=4)

    def wrap_job(job: Job) -> Callable[[str], Awaitable[None]]:
        async def run_job(job_id: str) -> None:
            try:
                await job(UUID(job_id))
            except LockgateError as error:
                log.warning("job_postponed", job=job_id, fault=str(error))
                raise retry(delay=RETRY_S) from error

        return run_job

    async def run_each_minute() -> None:
        try:
            await each_minute()
        except LockgateError as error:
            log.warning("sweep_postponed", fault=str(error))

    for job_name, job in jobs.items():
        made.task(name=job_name, timeout=JOB_WITHIN, max_tries=MAX_TRIES, silent=True)(wrap_job(job))
    made.cron("* * * * *", name="each_minute", timeout=timedelta(seconds=50), silent=True)(run_each_minute)
    return made


@contextlib.asynccontextmanager
async def serve_probes(host: str, port: int, check: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Answer probes of a process that has no other HTTP: 200 to everything, 503 while `check` raises a fault."""

    async def respond_to_probe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(PUT_WITHIN_S):
                await reader.readuntil(b"\r\n\r\n")
                try:
                    await check()
                    status = b"200 OK"
                except LockgateError:
                    status = b"503 Service Unavailable"
                writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond_to_probe, host, port):
        yield


def _streaq_queue(redis_url: str, name: str, **options: object) -> Any:  # noqa: ANN401 - as `create_worker`
    kind = importlib.import_module("streaq").Worker
    return kind(
        **_connection_options(redis_url),
        # In braces: in a Cluster all keys of one queue are in one slot.
        queue_name=f"{{{name}}}",
        # Its default is pickle: a client that can write to Redis could run code in the workers.
        serializer=_serialize_job,
        deserializer=json.loads,
        **options,
    )


class _MostSentinels:
    """What coredis asks for the master's address: the vote of all Sentinels.

    coredis believes the first Sentinel that replies. One that is cut off goes on naming a master that was replaced.

    Args:
        address: of the Sentinels.
    """

    def __init__(self, address: Group) -> None:
        self._address = address

    async def discover_primary(self, service: str) -> tuple[str, int]:
        """The master's address; asked for each new connection, and there are few.

        Raises:
            PrimaryNotFoundError: as coredis raises it.
        """
        del service  # it stands in the address
        client: Any = connect(self._address, PUT_WITHIN_S)
        try:
            host, port = await client.connection_pool.get_master_address()
        except REDIS_FAULTS as error:
            raise importlib.import_module("coredis.exceptions").PrimaryNotFoundError(str(error)) from error
        finally:
            await client.aclose()
        return host, port


def _connection_options(redis_url: str) -> dict[str, Any]:
    """Where the queue is, as streaq wants to be told."""
    address = read_address(redis_url)
    options: dict[str, Any] = {**address.login, "ssl_context": tls_context(address)}
    if isinstance(address, Group) and address.kind == CLUSTER:
        return {"cluster_nodes": list(address.hosts), "redis_kwargs": options}
    coredis = importlib.import_module("coredis")
    options |= {"db": address.db, "decode_responses": True}
    if isinstance(address, Group):
        pool = coredis.SentinelConnectionPool(address.service, _MostSentinels(address), **options)
        return {"redis_pool": pool, "redis_kwargs": {"retry_policy": coredis.retry.NoRetryPolicy()}}
    kind, place = _connection_place(address)
    return {"redis_pool": coredis.ConnectionPool(connection_class=kind, location=place, **options)}


def _connection_place(address: Server) -> tuple[Any, Any]:
    """Where one server is, as coredis wants to be told: a class of connections, and what those connect to."""
    connection = importlib.import_module("coredis.connection")
    if address.path:
        return connection.UnixDomainSocketConnection, connection.UnixDomainSocketLocation(address.path)
    return connection.TCPConnection, connection.TCPLocation(address.host, address.port)


def _serialize_job(value: Any) -> bytes:  # noqa: ANN401 - a job's name and id; or an exception, as the result of a job
    return json.dumps(value, default=lambda unknown: type(unknown).__name__).encode()


def _redis_error() -> type[Exception]:
    error: type[Exception] = importlib.import_module("coredis.exceptions").RedisError
    return error
