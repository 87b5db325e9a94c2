"""What users do with their own sessions and password, beyond logging in and out."""

from __future__ import annotations

from functools import partial

from lockgate.accounts.captcha import CaptchaAnswer
from lockgate.accounts.password_guard import PasswordGuard
from lockgate.accounts.users import Account, Unacceptable
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity
from lockgate.observe.audit import Event
from lockgate.sessions.call_origin import CallOrigin
from lockgate.sessions.overview import SessionView, sessions_of
from lockgate.sessions.parts import SessionParts


class SelfService:
    """A user's own sessions and password.

    Args:
        parts: what all calls about sessions share.
        guard: stands before passwords.

    Methods raise `StoreUnavailableError` or `AccountsUnavailableError` where nothing can be promised.
    """

    def __init__(self, parts: SessionParts, *, guard: PasswordGuard) -> None:
        self._redis = parts.redis
        self._session_store = parts.session_store
        self._accounts = parts.accounts
        self._audit = parts.audit
        self._guard = guard

    async def sessions(self, identity: Identity) -> list[SessionView]:
        """The user's live sessions."""
        return await sessions_of(self._redis, identity.sub)

    async def end(self, identity: Identity, sid: str, call: CallOrigin) -> Refusal | None:
        """End one of the user's own sessions; another user's is not found.

        A limited token ends its own session and is told nothing of others, not even whether they exist. The session of
        a client in its own name has no entry in Redis.
        """
        if sid != identity.sid:
            if identity.is_limited:
                return Refusal(Reason.BEYOND_SESSION)
            if await self._session_store.client_of(identity.sub, sid) is None:
                return Refusal(Reason.NOT_FOUND)
        await self._session_store.end(identity.sub, sid)
        self._audit.record(Event.SESSION_ENDED, sub=identity.sub, sid=sid, **call.audit_fields)
        return None

    async def change_password(
        self, identity: Identity, current: str, new: str, call: CallOrigin, captcha: CaptchaAnswer | None
    ) -> Refusal | None:
        """Give the user another password, and end every session but this one.

        The current password is guarded like that of a login, and counts with it: otherwise a stolen access token
        would be a way to guess it.
        """
        account = await self._accounts.find(identity.sub, call.request_id)
        if account is None:
            return self._refused(identity, Refusal(Reason.PASSWORD_REFUSED), call)
        change = partial(self._accounts.change_password, identity.sub, current, new, call.request_id)
        outcome: Account | Unacceptable | Refusal | None = await self._guard.check(
            account.username, call.address, captcha, change
        )
        if isinstance(outcome, Unacceptable):
            return self._refused(identity, Refusal(Reason.PASSWORD_UNACCEPTABLE), call)
        if not isinstance(outcome, Account):
            return self._refused(identity, outcome or Refusal(Reason.PASSWORD_REFUSED), call)
        await self._session_store.end_others(identity.sub, identity.sid, outcome.password_version)
        self._audit.record(Event.PASSWORD_CHANGED, sub=identity.sub, sid=identity.sid, **call.audit_fields)
        return None

    def _refused(self, identity: Identity, refusal: Refusal, call: CallOrigin) -> Refusal:
        # A user can have this as often as they like: after a few guesses no password is looked at any more.
        whose = {"sub": identity.sub, "sid": identity.sid}
        words = {**whose, "reason": refusal.reason.name.lower(), **call.audit_fields}
        self._audit.record_some(Event.PASSWORD_REFUSED, identity.sub, words)
        return refusal
