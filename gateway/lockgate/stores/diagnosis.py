"""Why Redis cannot be reached, where its client knows only that it cannot.

A server that expects TLS hangs up on a client without TLS, or keeps silent to the opposite; and of Sentinels the
client tells how many know the master, not what the others said. So the server is asked what it speaks, and the
Sentinels what they know, once for each `/readyz` that fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, Final

from redis.exceptions import ResponseError

from lockgate.errors import StoreRefusedError, StoreUnavailableError
from lockgate.stores.redis import translate_fault
from lockgate_common.redis.address import SENTINEL, Group, Server
from lockgate_common.redis.client import RedisClient
from lockgate_common.redis.faults import REDIS_FAULTS
from lockgate_common.redis.sentinel import MasterPool

ANSWER_S: Final = 0.3
_ENOUGH: Final = 1
_REDIS_SAYS: Final = (b"+", b"-")
"""How every reply to PING begins, also the one that a password is wanted."""


async def diagnosed(redis: RedisClient, address: Server | Group, error: StoreUnavailableError) -> StoreUnavailableError:
    """A more exact word for the fault, or the same.

    Args:
        redis: the client that failed.
        address: where it connects to.
        error: what it failed with.
    """
    if isinstance(error, StoreRefusedError):
        return error
    hosts = address.hosts if isinstance(address, Group) else ((address.host, address.port),) if address.host else ()
    for host, port in hosts:
        if address.tls is not None and await _speaks_plainly(host, port):
            return StoreRefusedError("it speaks no TLS: its address begins with redis, not rediss")
        if address.tls is None and await _speaks_tls(host, port):
            return StoreRefusedError("it speaks TLS: its address begins with rediss, not redis")
    if isinstance(address, Group) and address.kind == SENTINEL:
        return await _of_sentinels(redis, address.service) or error
    return error


async def _speaks_plainly(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.read(_ENOUGH) in _REDIS_SAYS
            finally:
                writer.close()
    return False


async def _speaks_tls(host: str, port: int) -> bool:
    # Nothing is sent on it, so the server has to prove nothing.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(OSError):
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.transport.abort()
            return True
    return False


async def _of_sentinels(redis: RedisClient, name: str) -> StoreUnavailableError | None:
    """What they say of themselves; `None` where one of them names a master, so that it is not for want of that."""
    pool: Any = redis.connection_pool  # type: ignore[union-attr]  # of Sentinels, so no Cluster
    if not isinstance(pool, MasterPool):
        return None
    sentinels = pool.sentinel_manager.sentinels
    asked = (one.sentinel_get_master_addr_by_name(name) for one in sentinels)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    if any(isinstance(answer, tuple) for answer in answers):
        return None
    faults = [answer for answer in answers if isinstance(answer, REDIS_FAULTS)]
    if len(faults) < len(answers):
        return StoreRefusedError(f"the Sentinels that answer know no master called {name}")
    if any(isinstance(fault, ResponseError) and "unknown command" in str(fault) for fault in faults):
        return StoreRefusedError("there is no Sentinel at its address, but another server")
    words = [translate_fault(fault) for fault in faults]
    refused = next((word for word in words if isinstance(word, StoreRefusedError)), None)
    if refused is not None:
        return StoreRefusedError(f"of a Sentinel: {refused}")
    return StoreUnavailableError(f"no Sentinel answers: {words[0]}")
