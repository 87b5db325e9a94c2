"""What a user can do with a session: begin it, go on, end it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from lockgate.accounts.captcha import CaptchaAnswer
from lockgate.accounts.clients import Client
from lockgate.accounts.password_guard import PasswordGuard
from lockgate.accounts.throttle import account_digest
from lockgate.accounts.users import Account
from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import format_gate
from lockgate.identity.model import Identity
from lockgate.identity.session_cookie import SessionCookie
from lockgate.observe.audit import Event
from lockgate.sessions.access import split_scope
from lockgate.sessions.call_origin import CallOrigin
from lockgate.sessions.cookie_sessions import CookieSession, CookieSessions
from lockgate.sessions.parts import SessionParts, TokenParts
from lockgate.sessions.refresh_token import RefreshClaim, new_sid
from lockgate.sessions.session_store import Outcome, Session
from lockgate_common.errors import UnconfirmedError

MAX_AGENT = 200

_LATER = (("Retry-After", "1"),)
"""By then, the others have the successor."""

_REFUSED = {
    Outcome.UNKNOWN: Reason.REFRESH_UNKNOWN,
    Outcome.EXPIRED: Reason.REFRESH_EXPIRED,
    Outcome.REUSED: Reason.REFRESH_REUSED,
    Outcome.TOO_MANY_REPEATS: Reason.REFRESH_CROWDED,
    Outcome.OTHER_CLIENT: Reason.REFRESH_FOREIGN,
    Outcome.SCOPE: Reason.SCOPE_INVALID,
}
_UNAUTHENTICATED = frozenset(
    {Reason.CAPTCHA_REQUIRED, Reason.LOGIN_THROTTLED, Reason.REFRESH_MALFORMED, Reason.REFRESH_UNKNOWN}
)
"""Refusals made before any credential was checked. They are unlimited, so they are logged but not kept in the audit
trail."""
_REPEATABLE = frozenset({Reason.REFRESH_FOREIGN, Reason.REFRESH_CROWDED, Reason.SCOPE_INVALID})
"""Why a good refresh token is refused and stays as good as it was."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login or refresh gives out (RFC 6749 section 5.1).

    Attributes:
        expires_in: of the access token, seconds.
        refresh_expires_in: until the session ends if the refresh token is not used, seconds.
    """

    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    session_id: str
    scope: str


class Sessions:
    """Login, refresh, revoke, logout.

    Args:
        parts: what all calls about sessions share.
        tokens: makes and reads tokens.
        cookies: keep them for browsers that hold a cookie.
        guard: stands before passwords.

    Methods raise `StoreUnavailableError` or `AccountsUnavailableError` where nothing can be promised.
    """

    def __init__(
        self, parts: SessionParts, tokens: TokenParts, *, cookies: CookieSessions, guard: PasswordGuard
    ) -> None:
        self._session_store = parts.session_store
        self._accounts = parts.accounts
        self._clients = parts.clients
        self._audit = parts.audit
        self._token = parts.token
        self._refresh_tokens = tokens.refresh_tokens
        self._access = tokens.access
        self._cookies = cookies
        self._verifier = tokens.verifier
        self._guard = guard

    async def login(
        self,
        username: str,
        password: str,
        call: CallOrigin,
        *,
        captcha: CaptchaAnswer | None = None,
        client: Client | None = None,
    ) -> Tokens | Refusal:
        """Begin a session. Every failure looks the same.

        Args:
            username: in any spelling.
            password: as typed.
            call: where it came from.
            captcha: solved for this attempt.
            client: that the session is for and that alone can refresh it; the public one where not given.
        """
        begun = await self._begin(username, password, call, captcha, client)
        return begun if isinstance(begun, Refusal) else self._issue_tokens(*begun)

    async def login_by_cookie(
        self,
        username: str,
        password: str,
        call: CallOrigin,
        *,
        captcha: CaptchaAnswer | None = None,
        client: Client | None = None,
    ) -> tuple[SessionCookie, CookieSession] | Refusal:
        """The same for a browser, which gets a cookie and no token."""
        begun = await self._begin(username, password, call, captcha, client, by_cookie=True)
        return begun if isinstance(begun, Refusal) else await self._cookies.begin(*begun)

    async def _begin(  # noqa: PLR0913 - what a login consists of
        self,
        username: str,
        password: str,
        call: CallOrigin,
        captcha: CaptchaAnswer | None,
        client: Client | None,
        *,
        by_cookie: bool = False,
    ) -> tuple[Session, Account] | Refusal:
        look = partial(self._accounts.check_password, username, password, call.request_id)
        account = await self._guard.check(username, call.address, captcha, look)
        if not isinstance(account, Account):
            return self._login_refused(account or Refusal(Reason.LOGIN_REFUSED), username, call)
        session = await self._session_store.begin(
            sub=account.sub,
            sid=new_sid(),
            client_id=client.client_id if client else self._token.client_id,
            address=call.address,
            agent=call.agent[:MAX_AGENT],
            password_version=account.password_version,
            scope=" ".join(sorted(client.scopes)) if client else None,
            by_cookie=by_cookie,
        )
        if session is None:
            return self._login_refused(Refusal(Reason.LOGIN_REFUSED, note="blocked meanwhile"), username, call)
        if client is not None and not await self._clients.knows(client):
            # Looked at after the session has begun: the removal of a client ends the sessions that it finds.
            await self._session_store.end(session.sub, session.sid)
            return self._login_refused(Refusal(Reason.CLIENT_REFUSED, note="removed meanwhile"), username, call)
        self._audit.record(
            Event.LOGIN, sub=session.sub, sid=session.sid, client_id=session.client_id, **call.audit_fields
        )
        for sid in session.made_room:
            self._audit.record(Event.SESSION_ENDED, sub=session.sub, sid=sid, reason="too_many", **call.audit_fields)
        return session, account

    async def refresh(
        self, token: str, call: CallOrigin, *, client: Client | None = None, scope: str = ""
    ) -> Tokens | Refusal:
        """Go on with a session: a new access token and the next refresh token.

        The account is read first, so that a users service that is away costs no generation.

        Args:
            token: the refresh token.
            call: where it came from.
            client: that has authenticated; `None` for the public client.
            scope: what the session shall be narrowed to (RFC 6749 section 6); empty leaves it as it is.
        """
        claim = self._refresh_tokens.read(token)
        if claim is None:
            return self._refresh_refused(Reason.REFRESH_MALFORMED, None, call)
        account = await self._find_account_or_end(claim, call)
        if isinstance(account, Reason):
            return self._refresh_refused(account, claim, call)
        wanted = split_scope(scope)
        if not wanted <= self._access.granted(account):
            return self._refresh_refused(Reason.SCOPE_INVALID, claim, call)
        client_id = client.client_id if client else self._token.client_id
        try:
            session = await self._session_store.rotate(
                claim,
                client_id=client_id,
                address=call.address,
                agent=call.agent[:MAX_AGENT],
                scope=" ".join(sorted(wanted)),
            )
        except UnconfirmedError:
            self._audit.record(Event.REFRESH_UNCONFIRMED, sub=claim.sub, sid=claim.sid, **call.audit_fields)
            raise
        if isinstance(session, Outcome):
            return self._refresh_refused(_REFUSED[session], claim, call)
        if session.password_version != account.password_version:
            await self._session_store.end(claim.sub, claim.sid)
            return self._refresh_refused(Reason.PASSWORD_OUTDATED, claim, call)
        self._audit.record(
            Event.REFRESH, sub=session.sub, sid=session.sid, client_id=session.client_id, **call.audit_fields
        )
        return self._issue_tokens(session, account)

    async def _find_account_or_end(self, claim: RefreshClaim, call: CallOrigin) -> Account | Reason:
        """The account of a session, or why it cannot go on."""
        # Before the users service is asked: the token of a session that has ended costs the users service nothing.
        if not await self._session_store.lives(claim.sub, claim.sid):
            return Reason.REFRESH_UNKNOWN
        account = await self._accounts.find(claim.sub, call.request_id)
        if account is None:
            await self._session_store.end(claim.sub, claim.sid)
            return Reason.ACCOUNT_CLOSED
        return account

    async def revoke(self, token: str, call: CallOrigin, *, client: Client | None = None) -> None:
        """Make a token worthless (RFC 7009): a refresh token with its whole session, an access token by itself.

        A token that is not ours needs nothing; neither does one of another client than the one that has authenticated,
        and a call without credentials is the public client (RFC 7009 section 2.1). When this returns, no worker accepts
        the token, and nothing that it began goes on. The trail hears of what that changed; a dead token can be revoked
        for ever.
        """
        whose = client.client_id if client else self._token.client_id
        claim = self._refresh_tokens.read(token)
        if claim is not None:
            # Also where Redis has lost the session: its access tokens may be out there still.
            if await self._session_store.client_of(claim.sub, claim.sid) in (whose, None):
                note = self._audit.record if await self._session_store.end(claim.sub, claim.sid) else self._audit.log
                note(Event.REVOKE, sub=claim.sub, sid=claim.sid, **call.audit_fields)
            return
        unverified = format_gate(token.encode("utf-8", "replace"))
        if isinstance(unverified, Refusal):
            return
        claims = self._verifier.read(unverified)  # by any clock: those of other nodes may differ
        if isinstance(claims, Refusal) or claims.principal.client_id != whose:
            return
        changed = await self._session_store.block_token(claims.principal.sub, claims.principal.jti, claims.exp)
        note = self._audit.record if changed else self._audit.log
        note(Event.REVOKE, sub=claims.principal.sub, jti=claims.principal.jti, **call.audit_fields)

    async def logout(self, identity: Identity, call: CallOrigin) -> None:
        """End this session."""
        await self._session_store.end(identity.sub, identity.sid)
        self._audit.record(Event.LOGOUT, sub=identity.sub, sid=identity.sid, **call.audit_fields)

    async def replace(self, cookie: SessionCookie, call: CallOrigin) -> None:
        """End the session of a cookie that came along with a login: it is never taken over (R-130)."""
        note = self._audit.record if await self._session_store.end(cookie.sub, cookie.sid) else self._audit.log
        note(Event.SESSION_ENDED, sub=cookie.sub, sid=cookie.sid, reason="replaced", **call.audit_fields)

    async def logout_all(self, identity: Identity, call: CallOrigin) -> None:
        """End every session of this user."""
        await self._session_store.end_all(identity.sub)
        self._audit.record(Event.LOGOUT_ALL, sub=identity.sub, sid=identity.sid, **call.audit_fields)

    def _login_refused(self, refusal: Refusal, username: str, call: CallOrigin) -> Refusal:
        note = self._audit.log if refusal.reason in _UNAUTHENTICATED else self._audit.record
        reason = refusal.reason.name.lower()
        note(Event.LOGIN_REFUSED, reason=reason, account=account_digest(username), **call.audit_fields)
        return refusal

    def _refresh_refused(self, reason: Reason, claim: RefreshClaim | None, call: CallOrigin) -> Refusal:
        event = Event.REFRESH_REUSED if reason is Reason.REFRESH_REUSED else Event.REFRESH_REFUSED
        whose = {"sub": claim.sub, "sid": claim.sid} if claim else {}
        words: dict[str, str | None] = {"reason": reason.name.lower(), **whose, **call.audit_fields}
        if reason in _UNAUTHENTICATED:
            self._audit.log(event, **words)
        elif claim is not None and reason in _REPEATABLE:
            self._audit.record_some(event, claim.sub, words)
        else:
            self._audit.record(event, **words)
        return Refusal(reason, headers=_LATER if reason is Reason.REFRESH_CROWDED else ())

    def _issue_tokens(self, session: Session, account: Account) -> Tokens:
        access_token, scope = self._access.issue(session, account)
        refresh_token = self._refresh_tokens.make(RefreshClaim(session.sub, session.sid, session.generation))
        return Tokens(
            access_token=access_token,
            expires_in=self._access.life_s,
            refresh_token=refresh_token,
            refresh_expires_in=self._access.refresh_life_s(session),
            session_id=session.sid,
            scope=scope,
        )
