"""One-time tickets: for a browser's WebSocket or event stream, which cannot send `Authorization`.

A ticket stands for an access token, once, for 30 seconds. The claims of the token in Redis would be a second way to an
identity, open to any program that can write to Redis. The token itself would put usable tokens into Redis, which holds
none otherwise. So the ticket is 32 random bytes: one digest of it names the entry in Redis, another is the key with
which the token is sealed there (AES-GCM). Redeeming is one `GETDEL`. The token that comes out goes through verifier
and admission like one that came in `Authorization`. Reading Redis gives nothing that can be used, and writing to it
makes no identity up. Only a bearer token can be exchanged for a ticket.

A user has `token.tickets_per_user` tickets (100 in 30 seconds); one more is 429 `too_many_tickets` with `Retry-After`.
An older ticket is not dropped: a page that asks in a loop would take the tickets of other pages, which would fail
without a trace. Used tickets count until their time is over, too: a ticket tells nothing of its user before it is
redeemed, so the count could not be found. Tickets are counted in the user's slot and stored in any other; the count
comes first.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

from lockgate.accounts.throttle import used_up
from lockgate.codec import base64url
from lockgate.codec.sealing import derive_key, seal_once, unseal_once
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import UnverifiedToken
from lockgate.stores.layout import TICKET_LIFE_S, UserKeys, ticket_key
from lockgate.stores.redis import store_errors
from lockgate.stores.script import Script, read_script
from lockgate_common.redis.client import RedisClient

_SECRET_BYTES: Final = 32
_TICKET: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class Tickets:
    """Gives tickets out and takes them back.

    Args:
        redis: where they are.
        most: how many a user may have in `TICKET_LIFE_S`.

    Methods raise `StoreUnavailableError` where Redis did not answer.
    """

    def __init__(self, redis: RedisClient, most: int) -> None:
        self._redis = redis
        self._most = most
        self._make_room = Script(redis, read_script(__package__, "ticket.lua"))

    async def issue(self, token: UnverifiedToken, sub: str) -> str | Refusal:
        """A ticket for a token of `sub` that was let in just now; good for `TICKET_LIFE_S`, once.

        Returns:
            The ticket; a refusal with Retry-After where the user has had too many.
        """
        secret = secrets.token_bytes(_SECRET_BYTES)
        name, key = _derive_name_and_key(secret)
        wait_ms = await self._make_room(keys=[UserKeys.of(sub).tickets], args=[name, TICKET_LIFE_S * 1000, self._most])
        if wait_ms:
            return Refusal(Reason.TOO_MANY_TICKETS, headers=used_up("tickets", self._most, TICKET_LIFE_S, wait_ms))
        sealed = seal_once(key, token.encode("ascii"))  # a ticket is made for one token
        with store_errors():
            await self._redis.set(name, sealed, ex=TICKET_LIFE_S)
        return base64url.encode(secret)

    async def redeem(self, ticket: str) -> bytes | None:
        """The token of a ticket, worth nothing from now on; `None` for one that is unknown, used or too old."""
        if _TICKET.fullmatch(ticket) is None:
            return None
        try:
            name, key = _derive_name_and_key(base64url.decode(ticket))
        except base64url.Base64UrlError:
            return None
        with store_errors():
            sealed = await self._redis.getdel(name)
        return unseal_once(key, sealed) if isinstance(sealed, bytes) else None


def _derive_name_and_key(secret: bytes) -> tuple[str, bytes]:
    """Name and key: two digests of the secret, of which neither tells the other."""
    name = hashlib.sha256(b"lockgate ticket name\0" + secret).hexdigest()
    return ticket_key(name), derive_key(b"lockgate ticket key\0", secret)
