"""OAuth clients that have a secret: machines that call in their own name, and backends that log users in.

They are in Redis, so that one that is removed is refused by every node from the next request on. Secrets are made here,
256 random bits, and stored as SHA-256: a secret that cannot be guessed needs no slow hash.

docs/decisions/0041 says why they are there, and why a plain SHA-256 is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from lockgate.clock import Clock
from lockgate.stores.command_link import CommandLink, executor_of
from lockgate.stores.layout import CLIENTS
from lockgate.stores.redis import store_errors
from lockgate.stores.script import Script
from lockgate_common.redis.client import RedisClient

SECRET_PREFIX: Final = "lgs_"  # noqa: S105 - for tools that look for leaked secrets
_SECRET_BYTES: Final = 32
_CLIENT_ID: Final = re.compile(r"[a-z][a-z0-9-]{2,62}[a-z0-9]")
_NOBODYS_HASH: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Client:
    """A client that has a secret.

    Attributes:
        client_id: its name.
        scopes: what it may ask for, in its own name or for a user.
        created: Unix seconds.
        secret_hash: tells it from another client of the same name, before or after.
    """

    client_id: str
    scopes: frozenset[str]
    created: float
    secret_hash: str = field(repr=False)

    @property
    def sub(self) -> str:
        """The `sub` of tokens in the client's own name (RFC 9068 section 2.2)."""
        return own_sub(self.client_id)


class Clients:
    """The registered clients.

    Args:
        redis: where they are.
        clock: the time.
        replicas: how many replicas of Redis have to confirm that a client was removed.
        link: of own calls, where there is one.

    Methods raise `StoreUnavailableError` where Redis did not answer.
    """

    def __init__(self, redis: RedisClient, clock: Clock, replicas: int = 0, link: CommandLink | None = None) -> None:
        self._execute = executor_of(redis, link)
        self._redis = redis
        self._clock = clock
        self._remove = Script(redis, "return redis.call('HDEL', KEYS[1], ARGV[1])", replicas)

    async def add(self, client_id: str, scopes: Iterable[str]) -> tuple[Client, str] | None:
        """Register a client.

        Args:
            client_id: see `is_client_id`.
            scopes: what it may ask for.

        Returns:
            The client and its secret, which is shown this once; `None` where the name is taken.
        """
        secret = SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        client = Client(client_id, frozenset(scopes), self._clock.now(), _hash_secret(secret))
        content = {"secret": client.secret_hash, "scopes": sorted(client.scopes), "created": client.created}
        with store_errors():
            added = await self._redis.hsetnx(CLIENTS, client_id, json.dumps(content))
        return (client, secret) if added else None

    async def remove(self, client_id: str) -> bool:
        """Forget a client; what it has begun is another matter, see `Administration`. Whether there was one."""
        return bool(await self._remove(keys=[CLIENTS], args=[client_id]))

    async def exists(self, client_id: str) -> bool:
        """Whether there is a client of this name."""
        with store_errors():
            return bool(await self._execute("HEXISTS", CLIENTS, client_id))

    async def knows(self, client: Client) -> bool:
        """Whether a client is registered still: this one, not another that has got its name."""
        with store_errors():
            found = await self._execute("HGET", CLIENTS, client.client_id)
        return found is not None and _parse_client(client.client_id, json.loads(found)) == client

    async def all(self) -> list[Client]:
        """Every client, by name."""
        with store_errors():
            found: dict[Any, Any] = await self._redis.hgetall(CLIENTS)
        return [
            _parse_client(client_id.decode("ascii"), json.loads(content))
            for client_id, content in sorted(found.items())
        ]

    async def authenticate(self, client_id: str, secret: str) -> Client | None:
        """The client with this name and secret, or `None`."""
        with store_errors():
            found = await self._execute("HGET", CLIENTS, client_id)
        content = json.loads(found) if found is not None else {"secret": _NOBODYS_HASH}
        fits = hmac.compare_digest(_hash_secret(secret), content["secret"])
        return _parse_client(client_id, content) if fits and found is not None else None


def own_sub(client_id: str) -> str:
    """The `sub` of what a client does in its own name; no user's has a colon."""
    return f"client:{client_id}"


def is_client_id(text: str) -> bool:
    """Whether a client may be called that: 4 to 64 lower-case letters, digits and hyphens, a letter first."""
    return _CLIENT_ID.fullmatch(text) is not None


def _hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _parse_client(client_id: str, content: dict[str, Any]) -> Client:
    return Client(client_id, frozenset(content["scopes"]), content["created"], content["secret"])
