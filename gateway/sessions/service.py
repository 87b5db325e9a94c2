"""What a user can do with a session: begin it, go on, end it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import Reason, Refusal
from gateway.identity.bearer import format_gate
from gateway.identity.issuer import Issuer, Subject
from gateway.identity.model import Identity
from gateway.identity.verifier import Verifier
from gateway.sessions.accounts import Account, Accounts
from gateway.sessions.families import Families, Outcome, Session
from gateway.sessions.refresh_token import RefreshClaim, RefreshTokens, new_sid
from gateway.settings import TokenSettings

PASSWORD = "pwd"  # noqa: S105 - an authentication method reference of RFC 8176
MAX_AGENT = 200

_REFUSED = {
    Outcome.UNKNOWN: Reason.REFRESH_UNKNOWN,
    Outcome.EXPIRED: Reason.REFRESH_EXPIRED,
    Outcome.REUSED: Reason.REFRESH_REUSED,
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
    ) -> None:
        self._accounts = accounts
        self._families = families
        self._refresh_tokens = refresh_tokens
        self._issuer = issuer
        self._verifier = verifier
        self._token = token
        self._scopes_of = scopes_of

    async def login(self, username: str, password: str, visitor: Visitor) -> Tokens | Refusal:
        """Begin a session. Every failure looks the same."""
        account = await self._accounts.check_password(username, password, visitor.request_id)
        if account is None:
            return Refusal(Reason.LOGIN_REFUSED)
        session = await self._families.begin(
            sub=account.sub,
            sid=new_sid(),
            client_id=self._token.client_id,
            address=visitor.address,
            agent=visitor.agent[:MAX_AGENT],
        )
        return self._tokens(session, account)

    async def refresh(self, token: str, visitor: Visitor) -> Tokens | Refusal:
        """Go on with a session: a new access token and the next refresh token.

        The account is read first, so that a users service that is away costs nobody a generation.
        """
        claim = self._refresh_tokens.read(token)
        if claim is None:
            return Refusal(Reason.REFRESH_MALFORMED)
        account = await self._accounts.find(claim.sub, visitor.request_id)
        if account is None:
            await self._families.end(claim.sub, claim.sid)
            return Refusal(Reason.ACCOUNT_CLOSED)
        session = await self._families.rotate(claim)
        if isinstance(session, Outcome):
            return Refusal(_REFUSED[session])
        return self._tokens(session, account)

    async def revoke(self, token: str) -> None:
        """Make a token worthless (RFC 7009): a refresh token with its whole session, an access token by itself.

        A token that is not ours, or dead already, needs nothing. When this returns, no worker accepts the token.
        """
        claim = self._refresh_tokens.read(token)
        if claim is not None:
            await self._families.end(claim.sub, claim.sid)
            return
        unverified = format_gate(token.encode("utf-8", "replace"))
        if isinstance(unverified, Refusal):
            return
        claims = self._verifier.read(unverified)  # whatever this node's clock says of it; others may differ
        if not isinstance(claims, Refusal):
            await self._families.block_token(claims.bearer.sub, claims.bearer.jti, claims.exp)

    async def logout(self, identity: Identity) -> None:
        """End this session."""
        await self._families.end(identity.sub, identity.sid)

    async def logout_all(self, identity: Identity) -> None:
        """End every session of this user."""
        await self._families.end_all(identity.sub)

    def _tokens(self, session: Session, account: Account) -> Tokens:
        scopes = sorted({scope for role in account.roles for scope in self._scopes_of.get(role, ())})
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
