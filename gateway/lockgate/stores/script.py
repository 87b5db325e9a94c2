"""Lua scripts: steps that Redis takes as one. All keys of a script share a hash tag, so that a Cluster can run it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import MovedError, NoScriptError

from lockgate.stores.command_link import CommandLink, executor_of
from lockgate.stores.redis import store_errors
from lockgate_common.errors import UnconfirmedError
from lockgate_common.redis.client import RedisClient
from lockgate_common.redis.cluster import ClusterClient
from lockgate_common.redis.sentinel import MasterPool

CONFIRM_MS: Final = 300
"""How long replicas may take to confirm a write; less than a command may take in all."""


@dataclass(slots=True)
class Promise:
    """What has to be so before something that is written may be promised.

    Attributes:
        replicas: how many have to confirm it.
        confirmed: how many have; `None`: none was asked.
    """

    replicas: int
    confirmed: int | None = None


@contextlib.asynccontextmanager
async def promising(redis: RedisClient, replicas: int, key: str) -> AsyncIterator[Promise]:
    """What is written within may be promised when this ends without an error; one server has no other to agree with.

    Behind Sentinels and in a Cluster it begins as soon as no other worker can believe another master, and ends when a
    majority has named the same master once more, after the write (docs/decisions/0130). Every replica that could take
    over has to have confirmed then, and `replicas` of them at least; with 0 none is asked.

    Args:
        redis: the store.
        replicas: how many have to confirm at least.
        key: that is written.

    Raises:
        RedisError: there is no master.
        UnconfirmedError: too few have confirmed, or another master may have been promoted meanwhile.
    """
    promise = Promise(replicas)
    if isinstance(redis, ClusterClient):
        await redis.initialize()
        owner = await redis.masters.ready(redis.owner_of(key))
        if replicas:
            promise.replicas = max(replicas, redis.masters.followers(owner))
        yield promise
        # A redirection that redis-py followed has led to a master that was not asked for before.
        stayed = redis.owner_of(key) == owner.name
        kept = stayed and await redis.masters.keeps(owner, promise.confirmed)
    elif isinstance(redis.connection_pool, MasterPool):
        mastership = redis.connection_pool.mastership
        master = await mastership.ready()
        if replicas:
            promise.replicas = max(replicas, await mastership.followers(master))
        yield promise
        kept = await mastership.keeps(master, promise.confirmed)
    else:
        yield promise
        return
    if not kept:
        raise UnconfirmedError("a replica has not confirmed, or the master is being replaced")


@cache
def read_script(package: str, name: str) -> str:
    """The text of a script in the folder `lua` of a package."""
    return files(package).joinpath("lua", name).read_text(encoding="utf-8")


class Script:
    """A script and where it runs.

    Args:
        redis: the store.
        text: in Lua.
        replicas: how many replicas have to confirm what it wrote before the answer counts. `None`: the answer promises
            nothing; any number: what it has written outlives the master, as far as so many replicas can hold that.
        link: of own calls, where there is one. What replicas have to confirm goes by the client all the same: WAIT
            keeps its connection for as long as the slowest replica takes.
    """

    def __init__(
        self, redis: RedisClient, text: str, replicas: int | None = None, link: CommandLink | None = None
    ) -> None:
        self._execute = executor_of(redis, link)
        self._redis = redis
        self._text = text
        self._sha = hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).hexdigest()
        self._replicas = replicas

    async def __call__(self, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> Any:  # noqa: ANN401 - the script's answer
        """Run it.

        Raises:
            StoreUnavailableError: Redis did not answer, or too few replicas did. It may have run all the same.
        """
        with store_errors():
            if self._replicas is None:
                return await self._run(keys, args)
            try:
                return await self._is_promised(self._replicas, keys, args)
            except MovedError as moved:
                if isinstance(self._redis, Redis):
                    raise
                # Not followed by redis-py: it would run the script at one node, and wait for the replicas of another.
                await self._redis.nodes_manager.move_slot(moved)
                return await self._is_promised(self._replicas, keys, args)

    async def _is_promised(self, least: int, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> Any:  # noqa: ANN401 - as above
        async with promising(self._redis, least, keys[0]) as promise:
            if not promise.replicas:
                return await self._run(keys, args)
            answer, promise.confirmed = await self._wait_for_replicas(promise.replicas, keys, args)
            if promise.confirmed < least:
                raise UnconfirmedError(f"{promise.confirmed} of {least} replicas confirmed")
            return answer

    async def _run(self, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> Any:  # noqa: ANN401 - as above
        try:
            return await self._execute("EVALSHA", self._sha, len(keys), *keys, *args)
        except NoScriptError:
            # By its text to the node that has the keys: SCRIPT LOAD would want every node of a Cluster to be there.
            return await self._execute("EVAL", self._text, len(keys), *keys, *args)

    async def _wait_for_replicas(
        self, replicas: int, keys: Sequence[str], args: Sequence[str | int | float | bytes]
    ) -> tuple[Any, int]:
        """Run it, and wait until replicas have what it wrote (WAIT, on the same connection); how many have."""
        if isinstance(self._redis, Redis):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.eval(self._text, len(keys), *keys, *args)
                pipe.wait(replicas, CONFIRM_MS)
                answer, confirmed = await pipe.execute()
        else:
            answer, confirmed = await self._run_at_node(self._redis, replicas, keys, args)
        return answer, confirmed

    async def _run_at_node(
        self, redis: ClusterClient, replicas: int, keys: Sequence[str], args: Sequence[str | int | float | bytes]
    ) -> list[Any]:
        """The script's answer, and how many replicas of its node confirmed."""
        pipe = redis.pipeline(transaction=False)
        pipe.eval(self._text, len(keys), *keys, *args)
        node = redis.get_node_from_key(keys[0])
        pipe.execute_command("WAIT", replicas, CONFIRM_MS, target_nodes=[node])
        return list(await pipe.execute(allow_redirections=False))
