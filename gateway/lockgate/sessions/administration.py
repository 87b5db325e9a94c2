"""What operators do to users, sessions, tokens and clients; the same for the admin calls and the command line.

**Roles.** Access tokens and the identity headers that services see carry roles. A granted role holds from the next
login or refresh on, because both read the account. A role that is taken must not live on for the five minutes of a
token. So taking a role raises the user's epoch, which ends every access token, session and socket of the user in one
step, on every node. There is no finer way that is as exact: a list of tokens by role would be another thing that
admission has to ask for on every request. A login that is under way may have read the account a moment before, so the
order is that of a block: no session may begin, everything ends, the roles change, and sessions may begin again after
the time that a call to the users service may take at most (5 s). A login within these seconds is refused as with a
wrong password.

- If the users service is away, the call fails after the user was logged out, and the user cannot log in for two
  minutes. Doing it again completes it.
- An account keeps at least one role, because the users service has no account without. Two administrators that change
  the roles of one user at the same moment may overwrite each other; the response tells the roles that are left.
- `lockgate users grant NAME admin` makes the first administrator. It signs its call with the gateway's link key, so
  only an account that may read the gateway's keys may make administrators. A script beside the database would know the
  table of another program, leave no trace in the audit trail, and work with one kind of database.

**Clients.** Removing a client ends its own tokens and every session of users that it began: their refresh tokens would
otherwise come back to life with the next client of that name. A SCAN over the sessions on every master finds them,
without an index: clients are removed a few times a year, and sessions begin all the time. A login that was under way
looks once more, after its session is there, whether its client still is, so one of the two sees the other. Registering
a name does the same SCAN first, so that leftovers of a removal with Redis half away do not come back. The name of the
public client cannot be registered.

- The SCAN over 200,000 sessions, 1,000 of them the client's, on one Redis: 3.6 s on two busy cores; a round trip looks
  at 500. With more than a million sessions the call for administrators may be given up before the SCAN is through (30
  s); the command is not. Either can be done again.
- Slots that are moved while the SCAN runs may hide a session from it. Such a session has lost its client and can go no
  further than its access token; a session that is held by a cookie would go on. Removing the client again after a
  resharding does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from lockgate.accounts.clients import Client, is_client_id, own_sub
from lockgate.accounts.users import AccountRecord, Unacceptable
from lockgate.errors import AccountsUnavailableError, OnlyShutOutError, Reason, Refusal, UserIdNeededError
from lockgate.observe.audit import Event
from lockgate.sessions.call_origin import CallOrigin
from lockgate.sessions.overview import SessionView, sessions_of
from lockgate.sessions.parts import SessionParts


class Administration:
    """Blocks and unblocks users, grants roles, ends sessions, revokes tokens, registers clients.

    Args:
        parts: what all calls about sessions share.

    `actor` is the operator, for the audit trail. Methods raise `StoreUnavailableError` or `AccountsUnavailableError`
    where nothing can be promised; doing it again does no harm.
    """

    def __init__(self, parts: SessionParts) -> None:
        self._redis = parts.redis
        self._session_store = parts.session_store
        self._accounts = parts.accounts
        self._clients = parts.clients
        self._audit = parts.audit
        self._token = parts.token

    async def find(self, user: str, call: CallOrigin) -> AccountRecord | None:
        """An account by its id or its name."""
        return await self._accounts.record(user, call.request_id)

    async def sub_of(self, user: str, call: CallOrigin) -> str | None:
        """The id of a user, by id or name, or `None`: there is none.

        An id that Redis has sessions of is known without the users service, so that they can be ended while it is
        away. One that has the form of an id is taken as one where the service gives no answer.

        Raises:
            UserIdNeededError: it gives none, and this is a name.
        """
        if await self._session_store.known(user):
            return user
        try:
            found = await self._accounts.record(user, call.request_id)
        except AccountsUnavailableError as error:
            if _is_uuid(user):
                return user
            raise UserIdNeededError(str(error)) from error
        return found.sub if found else None

    async def block(self, sub: str, actor: str, call: CallOrigin) -> bool:
        """Shut a user out, from the next request on, on every node; whether there is one.

        First here, then at the users service: should that be away, the user is logged out at least.

        Raises:
            OnlyShutOutError: it is.
        """
        await self._session_store.shut_out(sub)
        try:
            known = await self._accounts.set_status(sub, "blocked", call.request_id)
        except AccountsUnavailableError as error:
            raise self._only_shut_out(sub, actor, call, error) from error
        if not known:
            return False
        self._audit.record(Event.USER_BLOCKED, sub=sub, actor=actor, **call.audit_fields)
        return True

    async def unblock(self, sub: str, actor: str, call: CallOrigin) -> bool:
        """Let a user log in again; whether there is one."""
        if not await self._accounts.set_status(sub, "active", call.request_id):
            return False
        await self._session_store.let_in_again(sub)
        self._audit.record(Event.USER_UNBLOCKED, sub=sub, actor=actor, **call.audit_fields)
        return True

    async def grant_role(self, sub: str, role: str, actor: str, call: CallOrigin) -> tuple[str, ...] | Refusal:
        """Give a user a role, which tokens tell from the next login or refresh on; all roles then, or why not."""
        found = await self._accounts.record(sub, call.request_id)
        if found is None:
            return Refusal(Reason.NOT_FOUND)
        if role in found.roles:
            return found.roles
        roles = (*found.roles, role)
        refusal = await self._set_roles(sub, roles, call)
        if refusal is not None:
            return refusal
        self._audit.record(Event.ROLE_GRANTED, sub=sub, role=role, actor=actor, **call.audit_fields)
        return roles

    async def revoke_role(self, sub: str, role: str, actor: str, call: CallOrigin) -> tuple[str, ...] | Refusal:
        """Take a role from a user; the roles that are left, or why not.

        Everything the user has ends before, and no session begins until logins that have seen the old roles are over:
        from here on, no good token tells of the role. The user logs in again.

        Raises:
            OnlyShutOutError: the users service is away. The user is shut out also where it could not say whether they
                have the role: it was to end at once.
        """
        try:
            found = await self._accounts.record(sub, call.request_id)
        except AccountsUnavailableError as error:
            await self._session_store.shut_out(sub)
            raise self._only_shut_out(sub, actor, call, error) from error
        if found is None:
            return Refusal(Reason.NOT_FOUND)
        if role not in found.roles:
            return found.roles
        left = tuple(one for one in found.roles if one != role)
        if not left:
            return Refusal(Reason.ROLE_LAST)
        await self._session_store.shut_out(sub)
        try:
            refusal = await self._set_roles(sub, left, call)
        except AccountsUnavailableError as error:
            raise self._only_shut_out(sub, actor, call, error) from error
        if refusal is not None:
            return refusal
        await self._session_store.let_in_again(sub, after_s=self._accounts.timeout_s)
        self._audit.record(Event.ROLE_REVOKED, sub=sub, role=role, actor=actor, **call.audit_fields)
        return left

    async def sessions(self, sub: str) -> list[SessionView]:
        """The live sessions of a user."""
        return await sessions_of(self._redis, sub)

    async def end_session(self, sub: str, sid: str, actor: str, call: CallOrigin) -> bool:
        """End one session; whether there was one."""
        if await self._session_store.client_of(sub, sid) is None:
            return False
        await self._session_store.end(sub, sid)
        self._audit.record(Event.SESSION_ENDED, sub=sub, sid=sid, actor=actor, **call.audit_fields)
        return True

    async def end_sessions(self, sub: str, actor: str, call: CallOrigin) -> None:
        """End everything a user has: sessions, access tokens, sockets. They can log in again."""
        await self._session_store.end_all(sub)
        self._audit.record(Event.LOGOUT_ALL, sub=sub, actor=actor, **call.audit_fields)

    async def revoke(self, sub: str, jti: str, actor: str, call: CallOrigin) -> None:
        """Put an access token on the blocklist by its id, for as long as any token could still live."""
        await self._session_store.block_token(sub, jti)
        self._audit.record(Event.REVOKE, sub=sub, jti=jti, actor=actor, **call.audit_fields)

    def _only_shut_out(
        self, sub: str, actor: str, call: CallOrigin, fault: AccountsUnavailableError
    ) -> OnlyShutOutError:
        """Note that the user was logged out, though the users service gave no answer."""
        reason = Reason.ACCOUNTS_AWAY.name.lower()
        self._audit.record(Event.LOGOUT_ALL, sub=sub, actor=actor, reason=reason, **call.audit_fields)
        return OnlyShutOutError(str(fault))

    async def _set_roles(self, sub: str, roles: tuple[str, ...], call: CallOrigin) -> Refusal | None:
        outcome = await self._accounts.set_roles(sub, roles, call.request_id)
        if isinstance(outcome, Unacceptable):
            return Refusal(Reason.ROLE_UNKNOWN)
        return None if outcome else Refusal(Reason.NOT_FOUND)

    async def clients(self) -> list[Client]:
        """The registered clients."""
        return await self._clients.all()

    async def add_client(
        self, client_id: str, scopes: Iterable[str], actor: str, call: CallOrigin
    ) -> tuple[Client, str] | None:
        """Register a client; it and its secret, or `None`: the name is taken."""
        if client_id == self._token.client_id or await self._clients.exists(client_id):
            return None
        # A removal that got no further than the name has left what must not come back to life with it.
        await self._end_everything_of(client_id)
        added = await self._clients.add(client_id, scopes)
        if added is not None:
            self._audit.record(Event.CLIENT_ADDED, client_id=client_id, actor=actor, **call.audit_fields)
        return added

    async def remove_client(self, client_id: str, actor: str, call: CallOrigin) -> bool:
        """Remove a client, and end all it has: tokens in its own name, and the sessions of users that it has begun.

        Whether there was one.
        """
        if not is_client_id(client_id):
            # Nothing has such a name; it may be a secret that was mistaken for one, and is kept nowhere.
            return False
        removed = await self._clients.remove(client_id)
        if client_id != self._token.client_id:
            # Also where there was none: the first attempt may have got no further.
            await self._end_everything_of(client_id)
        if removed:
            self._audit.record(Event.CLIENT_REMOVED, client_id=client_id, actor=actor, **call.audit_fields)
        return removed

    async def _end_everything_of(self, client_id: str) -> None:
        """End what a client has that is not registered any more, so that no more can begin than is under way."""
        await self._session_store.end_all(own_sub(client_id))
        await self._session_store.end_made_by(client_id)


def _is_uuid(user: str) -> bool:
    """Whether this has the form of an id of the users service, whose names are shorter."""
    try:
        return str(UUID(user)) == user
    except ValueError:
        return False
