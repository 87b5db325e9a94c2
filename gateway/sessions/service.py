"""What a user can do with a session: begin it, go on, end it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from gateway.errors import Reason, Refusal
from gateway.identity.bearer import format_gate
from gateway.identity.issuer import Issuer, Subject
from gateway.identity.model import Identity
from gateway.identity.verifier import Verifier
from gateway.observe.audit import Audit, Event
from gateway.sessions.accounts import Account, Accounts
from gateway.sessions.captcha import CaptchaAnswer
from gateway.sessions.clients import Client
from gateway.sessions.families import Families, Outcome, Session
from gateway.sessions.guard import PasswordGuard
from gateway.sessions.refresh_token import RefreshClaim, RefreshTokens, new_sid
from gateway.sessions.throttle import account_digest
from gateway.settings import TokenSettings

PASSWORD = "pwd"  # noqa: S105 - an authentication method reference of RFC 8176
MAX_AGENT = 200

_REFUSED = {
    Outcome.UNKNOWN: Reason.REFRESH_UNKNOWN,
    Outcome.EXPIRED: Reason.REFRESH_EXPIRED,
    Outcome.REUSED: Reason.REFRESH_REUSED,
    Outcome.FOREIGN: Reason.REFRESH_FOREIGN,
    Outcome.SCOPE: Reason.SCOPE_INVALID,
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login or refresh gives out (RFC 6749 section 5.1).

    Attributes:
        expires_in: of the access token, seconds.
        refresh_expires_in: until the session ends in any case, seconds.
    """

    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    session_id: str
    scope: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a call came from.

    Attributes:
        address: of the client.
        agent: its User-Agent; kept for the user to recognise a session, never believed.
        request_id: of the call.
    """

    address: str
    agent: str
    request_id: str

    @property
    def facts(self) -> dict[str, str]:
        """What the audit trail says of the call."""
        return {"address": self.address, "request_id": self.request_id}


class Sessions:
    """Login, refresh, revoke, logout.

    Args:
        accounts: knows passwords and roles.
        families: knows sessions.
        refresh_tokens: makes and reads refresh tokens.
        issuer: makes access tokens.
        verifier: reads them.
        token: how long things live.
        scopes_of: the scopes that each role grants.
        guard: stands before passwords.
        audit: is told of everything.

    Methods raise `StoreUnavailableError` or `AccountsUnavailableError` where nothing can be promised.
    """

    def __init__(  # noqa: PLR0913 - the parts that a session touches
        self,
        *,
        accounts: Accounts,
        families: Families,
        refresh_tokens: RefreshTokens,
        issuer: Issuer,
        verifier: Verifier,
        token: TokenSettings,
        scopes_of: Mapping[str, tuple[str, ...]],
        guard: PasswordGuard,
        audit: Audit,
    ) -> None:
        self._accounts = accounts
        self._families = families
        self._refresh_tokens = refresh_tokens
        self._issuer = issuer
        self._verifier = verifier
        self._token = token
        self._scopes_of = scopes_of
        self._guard = guard
        self._audit = audit

    async def login(
        self,
        username: str,
        password: str,
        visitor: Visitor,
        *,
        captcha: CaptchaAnswer | None = None,
        client: Client | None = None,
    ) -> Tokens | Refusal:
        """Begin a session. Every failure looks the same.

        Args:
            username: in any spelling.
            password: as typed.
            visitor: who calls.
            captcha: solved for this attempt.
            client: that the session is for and that alone can refresh it; the public one where not given.
        """
        look = partial(self._accounts.check_password, username, password, visitor.request_id)
        account = await self._guard.check(username, visitor.address, captcha, look)
        if not isinstance(account, Account):
            return self._login_refused(account or Refusal(Reason.LOGIN_REFUSED), username, visitor)
        session = await self._families.begin(
            sub=account.sub,
            sid=new_sid(),
            client_id=client.client_id if client else self._token.client_id,
            address=visitor.address,
            agent=visitor.agent[:MAX_AGENT],
            password_version=account.password_version,
            scope=" ".join(sorted(client.scopes)) if client else None,
        )
        if session is None:
            return self._login_refused(Refusal(Reason.LOGIN_REFUSED, note="blocked meanwhile"), username, visitor)
        self._audit.record(Event.LOGIN, sub=session.sub, sid=session.sid, client_id=session.client_id, **visitor.facts)
        return self._tokens(session, account)

    async def refresh(
        self, token: str, visitor: Visitor, *, client: Client | None = None, scope: str = ""
    ) -> Tokens | Refusal:
        """Go on with a session: a new access token and the next refresh token.

        The account is read first, so that a users service that is away costs nobody a generation.

        Args:
            token: the refresh token.
            visitor: who calls.
            client: who has authenticated; nobody has where not given.
            scope: what the session shall be narrowed to (RFC 6749 section 6); empty leaves it as it is.
        """
        claim = self._refresh_tokens.read(token)
        if claim is None:
            return self._refresh_refused(Reason.REFRESH_MALFORMED, None, visitor)
        account = await self._accounts.find(claim.sub, visitor.request_id)
        if account is None:
            await self._families.end(claim.sub, claim.sid)
            return self._refresh_refused(Reason.ACCOUNT_CLOSED, claim, visitor)
        wanted = set(scope.split())
        if not wanted <= self._granted(account):
            return self._refresh_refused(Reason.SCOPE_INVALID, claim, visitor)
        client_id = client.client_id if client else self._token.client_id
        session = await self._families.rotate(claim, client_id=client_id, scope=" ".join(sorted(wanted)))
        if isinstance(session, Outcome):
            return self._refresh_refused(_REFUSED[session], claim, visitor)
        if session.password_version != account.password_version:
            await self._families.end(claim.sub, claim.sid)
            return self._refresh_refused(Reason.PASSWORD_OUTDATED, claim, visitor)
        self._audit.record(
            Event.REFRESH, sub=session.sub, sid=session.sid, client_id=session.client_id, **visitor.facts
        )
        return self._tokens(session, account)

    async def revoke(self, token: str, visitor: Visitor, *, client: Client | None = None) -> None:
        """Make a token worthless (RFC 7009): a refresh token with its whole session, an access token by itself.

        A token that is not ours, or dead already, needs nothing; neither does one of another client than the one that
        has authenticated. When this returns, no worker accepts the token.
        """
        claim = self._refresh_tokens.read(token)
        if claim is not None:
            if client is None or await self._families.client_of(claim.sub, claim.sid) == client.client_id:
                await self._families.end(claim.sub, claim.sid)
                self._audit.record(Event.REVOKE, sub=claim.sub, sid=claim.sid, **visitor.facts)
            return
        unverified = format_gate(token.encode("utf-8", "replace"))
        if isinstance(unverified, Refusal):
            return
        claims = self._verifier.read(unverified)  # whatever this node's clock says of it; others may differ
        if isinstance(claims, Refusal) or (client is not None and claims.bearer.client_id != client.client_id):
            return
        await self._families.block_token(claims.bearer.sub, claims.bearer.jti, claims.exp)
        self._audit.record(Event.REVOKE, sub=claims.bearer.sub, jti=claims.bearer.jti, **visitor.facts)

    async def logout(self, identity: Identity, visitor: Visitor) -> None:
        """End this session."""
        await self._families.end(identity.sub, identity.sid)
        self._audit.record(Event.LOGOUT, sub=identity.sub, sid=identity.sid, **visitor.facts)

    async def logout_all(self, identity: Identity, visitor: Visitor) -> None:
        """End every session of this user."""
        await self._families.end_all(identity.sub)
        self._audit.record(Event.LOGOUT_ALL, sub=identity.sub, sid=identity.sid, **visitor.facts)

    def _login_refused(self, refusal: Refusal, username: str, visitor: Visitor) -> Refusal:
        self._audit.record(
            Event.LOGIN_REFUSED, reason=refusal.reason.name.lower(), account=account_digest(username), **visitor.facts
        )
        return refusal

    def _refresh_refused(self, reason: Reason, claim: RefreshClaim | None, visitor: Visitor) -> Refusal:
        event = Event.REFRESH_REUSED if reason is Reason.REFRESH_REUSED else Event.REFRESH_REFUSED
        whose = {"sub": claim.sub, "sid": claim.sid} if claim else {}
        self._audit.record(event, reason=reason.name.lower(), **whose, **visitor.facts)
        return Refusal(reason)

    def _granted(self, account: Account) -> set[str]:
        return {scope for role in account.roles for scope in self._scopes_of.get(role, ())}

    def _tokens(self, session: Session, account: Account) -> Tokens:
        granted = self._granted(account)
        scopes = sorted(granted if session.scope is None else granted.intersection(session.scope.split()))
        access_token = self._issuer.issue(
            Subject(
                sub=session.sub,
                sid=session.sid,
                client_id=session.client_id,
                epoch=session.epoch,
                roles=account.roles,
                scopes=scopes,
                auth_time=int(session.created),
                amr=(PASSWORD,),
            )
        )
        refresh_token = self._refresh_tokens.make(RefreshClaim(session.sub, session.sid, session.generation))
        return Tokens(
            access_token=access_token,
            expires_in=self._issuer.life_s,
            refresh_token=refresh_token,
            refresh_expires_in=max(0, int(session.ends - self._issuer.now())),
            session_id=session.sid,
            scope=" ".join(scopes),
        )
