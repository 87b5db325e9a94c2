"""Whether Redis can be used as it is configured: asked at the start and by every `/readyz`.

The gateway's user in Redis may lack the right to `INFO`. The eviction policy is then unknown, which is a warning: the
promise is the operator's. The user may lack `ROLE`, too. A master is then told from a replica by a `DEL` of a key that
is never there, which a replica refuses before it looks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ClusterCrossSlotError, NoPermissionError

from lockgate.errors import ConfigurationError, StoreRefusedError, StoreUnavailableError
from lockgate.stores.checked_address import read_checked_address
from lockgate.stores.diagnosis import diagnosed
from lockgate.stores.layout import PROBES
from lockgate.stores.redis import store_errors, translate_fault
from lockgate_common.redis.client import RedisClient
from lockgate_common.redis.faults import A_CLUSTER, REDIS_FAULTS, TOO_OLD, is_too_old

NEVER_EVICTS: Final = "noeviction"
NOT_KNOWN: Final = f"policy not known: its user may not run INFO; maxmemory-policy has to be {NEVER_EVICTS}"
_FULL: Final = "full, so nothing more can be written"

_log = logging.getLogger("lockgate")


class StoreCheck:
    """Looks whether Redis can be used, and logs what it found whenever that has changed.

    Args:
        redis: the client of the gateway's own calls.
        url: its address.
        connected: whether admission can ask.
        refused: what keeps the channel of ended tokens from being heard, if that does not heal by itself.
    """

    def __init__(
        self,
        redis: RedisClient,
        url: str,
        *,
        connected: Callable[[], bool],
        refused: Callable[[], StoreUnavailableError | None],
    ) -> None:
        self._redis = redis
        self._address = read_checked_address(url)
        self._connected = connected
        self._refused = refused
        self._logged: str | None = None

    async def at_start(self) -> None:
        """Say what is wrong, if anything is; the worker starts all the same.

        Raises:
            ConfigurationError: this Redis would forget revocations.
        """
        try:
            self._note_finding(await self._check_now())
        except StoreUnavailableError as error:
            self._log_problem(error)

    async def __call__(self) -> str | None:
        """For readiness: a warning, or `None`.

        Raises:
            StoreUnavailableError, ConfigurationError: it cannot be used, or not as it is configured.
        """
        try:
            warning = await self._check_now()
            self._need_listeners()
        except StoreUnavailableError as error:
            self._log_problem(error)
            raise
        self._note_finding(warning)
        return warning

    async def _check_now(self) -> str | None:
        try:
            return await look(self._redis)
        except StoreUnavailableError as error:
            raise await diagnosed(self._redis, self._address, error) from error

    def _need_listeners(self) -> None:
        """Raise where the client gets on and the connections beside it do not."""
        if (refused := self._refused()) is not None:
            raise refused
        if not self._connected():
            raise StoreUnavailableError("not connected")

    def _note_finding(self, warning: str | None) -> None:
        if warning is not None:
            self._log_change(logging.WARNING, f"Redis at {self._address.place}: {warning}")
        else:
            self._logged = None

    def _log_problem(self, error: StoreUnavailableError) -> None:
        where = f"Redis at {self._address.place}"
        if isinstance(error, StoreRefusedError):
            text = f"{where} cannot be used: {error}. This does not heal by itself; protected routes answer 503"
            self._log_change(logging.ERROR, text)
        else:
            text = f"{where} cannot be reached yet ({error}); protected routes answer 503 until it can"
            self._log_change(logging.WARNING, text)

    def _log_change(self, level: int, text: str) -> None:
        # Probes come every few seconds; the log has each trouble once.
        if text != self._logged:
            self._logged = text
            _log.log(level, "%s", text)


async def look(redis: RedisClient) -> str | None:
    """See that Redis can do the work, and that none that may hold a revocation forgets it to make room.

    Of a Cluster the nodes that answer are looked at: one that is away is away for its own users only.

    Returns:
        A warning where one has no room left, or does not say what it does then. What was revoked stays revoked.

    Raises:
        ConfigurationError: the `maxmemory-policy` of one evicts.
        StoreRefusedError: it is of the wrong kind or too old, or does not let its user do the work.
        StoreUnavailableError: it did not answer; of a Cluster, no node did.
    """
    found = await _read_infos(redis)
    for info in found:
        _judge_policy(info, alone=isinstance(redis, Redis))
    with store_errors():
        try:
            # Two slots: a node of a Cluster says that it is one, also to a user that may not ask it.
            await (redis.mget(*PROBES) if isinstance(redis, Redis) else redis.get(PROBES[0]))
        except ClusterCrossSlotError:
            raise StoreRefusedError(A_CLUSTER) from None
    if any(0 < info.get("maxmemory", 0) <= info.get("used_memory", 0) for info in found):
        return _FULL
    return None if found else NOT_KNOWN


def _judge_policy(info: dict[str, Any], *, alone: bool) -> None:
    policy = info.get("maxmemory_policy", NEVER_EVICTS)
    if policy != NEVER_EVICTS:
        raise ConfigurationError(f"redis: maxmemory-policy is {policy}; revocations need {NEVER_EVICTS}")
    if info.get("redis_mode") == "sentinel":
        raise StoreRefusedError("it is a Sentinel: its address begins with redis+sentinel://")
    if is_too_old(str(info.get("redis_version", ""))):
        raise StoreRefusedError(TOO_OLD)
    if alone and info.get("cluster_enabled"):
        raise StoreRefusedError(A_CLUSTER)
    if alone and info.get("role") == "slave":
        raise StoreUnavailableError("it is a replica, which takes no writes")


async def _read_infos(redis: RedisClient) -> list[dict[str, Any]]:
    """What each server says of itself; nothing where the user may not ask."""
    if isinstance(redis, Redis):
        with store_errors():
            try:
                return [await redis.info()]
            except NoPermissionError:
                return []
    with store_errors():
        await redis.initialize()
    found: list[dict[str, Any]] = []
    faults: list[BaseException] = []
    for node in redis.get_nodes():
        try:
            found.append(await redis.info(target_nodes=node))
        except REDIS_FAULTS as error:
            faults.append(error)
    if found or any(isinstance(fault, NoPermissionError) for fault in faults):
        return found
    raise translate_fault(faults[0]) if faults else StoreUnavailableError("no node of the Cluster answers")
