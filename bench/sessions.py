"""What a session costs Redis: users that each log in once, and the growth of Redis' memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import redis

from bench import accounts
from bench.accounts import PASSWORD
from bench.client import Client, request
from bench.machine import Command, started
from bench.site import Site, wait_for
from bench.trees import Tree
from lockgate.cli.devstack import redis_server

PEOPLE: Final = 1_000
_AUDIT: Final = "lg:audit"


def session_bytes(site: Site, tree: Tree) -> float:
    """Bytes of Redis' memory for each session, one a user, without the audit trail, which is bounded by its length."""
    with (
        _own_redis(site, tree.name) as own,
        accounts.opened(own, f"sessions-{tree.name}", tree=tree, people=PEOPLE, hashed=False) as place,
        redis.Redis(unix_socket_path=str(own.redis)) as client,
    ):
        # The first sessions bring scripts and counters along, which all later ones share.
        asyncio.run(_log_in(place.port, place.names[: PEOPLE // 10]))
        before = _used(client)
        rest = place.names[PEOPLE // 10 :]
        asyncio.run(_log_in(place.port, rest))
        return (_used(client) - before) / len(rest)


@contextlib.contextmanager
def _own_redis(site: Site, name: str) -> Iterator[Site]:
    """The site with a Redis in which nothing else comes and goes."""
    own = replace(site, redis=site.folder / f"{name}.sock")
    child = redis_server.redis_child(site.folder / f"redis-{name}", own.redis, env=os.environ)
    with started(Command(child.argv), site.cores.load, site.folder / f"redis-{name}.log") as running:
        wait_for(running, "redis", own.redis.is_socket)
        yield own


async def _log_in(port: int, names: tuple[str, ...]) -> None:
    client = await Client.connect(port)
    for name in names:
        answer = await client.ask(request("POST", "/auth/login", content={"username": name, "password": PASSWORD}))
        if answer.status != 200:  # noqa: PLR2004 - a session
            raise RuntimeError(f"a login was answered {answer.status}: {answer.body!r}")
    client.close()


def _used(client: redis.Redis) -> int:
    memory = client.info("memory")
    return int(memory["used_memory"]) - int(client.memory_usage(_AUDIT, samples=0) or 0)
