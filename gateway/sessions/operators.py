"""What operators do to users, sessions, tokens and clients; the same for the admin calls and the command line."""

from __future__ import annotations

from collections.abc import Iterable

from redis.asyncio import Redis

from gateway.clock import Clock
from gateway.observe.audit import Audit, Event
from gateway.sessions.accounts import AccountRecord, Accounts
from gateway.sessions.clients import Client, Clients
from gateway.sessions.families import Families
from gateway.sessions.overview import SessionView, sessions_of
from gateway.sessions.service import Visitor


class Operators:
    """Blocks and unblocks users, ends sessions, revokes tokens, registers clients.

    Args:
        redis: where sessions are.
        accounts: know who may log in.
        families: know sessions.
        clients: know OAuth clients.
        audit: is told of everything.
        clock: the time.
        access_life_s: how long an access token lives at most.

    `actor` is who did it, for the audit trail. Methods raise `StoreUnavailableError` or `AccountsUnavailableError`
    where nothing can be promised; doing it again does no harm.
    """

    def __init__(  # noqa: PLR0913 - the parts that an operator touches
        self,
        *,
        redis: Redis,
        accounts: Accounts,
        families: Families,
        clients: Clients,
        audit: Audit,
        clock: Clock,
        access_life_s: int,
    ) -> None:
        self._redis = redis
        self._accounts = accounts
        self._families = families
        self._clients = clients
        self._audit = audit
        self._clock = clock
        self._access_life_s = access_life_s

    async def find(self, user: str, visitor: Visitor) -> AccountRecord | None:
        """An account by its id or its name."""
        return await self._accounts.record(user, visitor.request_id)

    async def block(self, sub: str, actor: str, visitor: Visitor) -> bool:
        """Shut a user out, from the next request on, on every node; whether there is one.

        First here, then at the users service: should that be away, the user is logged out at least.
        """
        await self._families.shut_out(sub)
        if not await self._accounts.set_status(sub, "blocked", visitor.request_id):
            return False
        self._audit.record(Event.USER_BLOCKED, sub=sub, actor=actor, **visitor.facts)
        return True

    async def unblock(self, sub: str, actor: str, visitor: Visitor) -> bool:
        """Let a user log in again; whether there is one."""
        if not await self._accounts.set_status(sub, "active", visitor.request_id):
            return False
        await self._families.let_in_again(sub)
        self._audit.record(Event.USER_UNBLOCKED, sub=sub, actor=actor, **visitor.facts)
        return True

    async def sessions(self, sub: str) -> list[SessionView]:
        """The live sessions of a user."""
        return await sessions_of(self._redis, sub)

    async def end_session(self, sub: str, sid: str, actor: str, visitor: Visitor) -> bool:
        """End one session; whether there was one."""
        if await self._families.client_of(sub, sid) is None:
            return False
        await self._families.end(sub, sid)
        self._audit.record(Event.SESSION_ENDED, sub=sub, sid=sid, actor=actor, **visitor.facts)
        return True

    async def end_sessions(self, sub: str, actor: str, visitor: Visitor) -> None:
        """End everything a user has: sessions, access tokens, sockets. They can log in again."""
        await self._families.end_all(sub)
        self._audit.record(Event.LOGOUT_ALL, sub=sub, actor=actor, **visitor.facts)

    async def revoke(self, sub: str, jti: str, actor: str, visitor: Visitor) -> None:
        """Put an access token on the blocklist by its id, for as long as any token could still live."""
        await self._families.block_token(sub, jti, self._clock.now() + self._access_life_s)
        self._audit.record(Event.REVOKE, sub=sub, jti=jti, actor=actor, **visitor.facts)

    async def clients(self) -> list[Client]:
        """The registered clients."""
        return await self._clients.all()

    async def add_client(
        self, client_id: str, scopes: Iterable[str], actor: str, visitor: Visitor
    ) -> tuple[Client, str] | None:
        """Register a client; it and its secret, or `None`: the name is taken."""
        added = await self._clients.add(client_id, scopes)
        if added is not None:
            self._audit.record(Event.CLIENT_ADDED, client_id=client_id, actor=actor, **visitor.facts)
        return added

    async def remove_client(self, client_id: str, actor: str, visitor: Visitor) -> bool:
        """Remove a client, and with it every token in its own name; whether there was one."""
        removed = await self._clients.remove(client_id)
        # Also where there was none: the first attempt may have got no further.
        await self._families.end_all(f"client:{client_id}")
        if removed:
            self._audit.record(Event.CLIENT_REMOVED, client_id=client_id, actor=actor, **visitor.facts)
        return removed
