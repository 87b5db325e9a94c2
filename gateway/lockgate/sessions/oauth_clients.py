"""OAuth for clients that have a secret: tokens in their own name, and what a token is good for.

- Revocation (RFC 7009 section 2.1): only a token's own client may revoke it. A caller without credentials is the
  public client (`token.client_id`) and revokes that client's tokens. For a token of any other client the response is
  200, and nothing happens.
- Introspection of a refresh token says what a refresh would give now: the account is read, as there. Its `aud` is the
  issuer and its `token_type` is `refresh_token`, so that a service which asks about any token it is shown does not
  take it for an access token.
- An `Authorization` field that is not readable Basic is 401 at every call for clients, also where a call needs no
  client: credentials that were sent must not count as none. A browser library that adds `Authorization: Bearer` to
  every request gets 401 `invalid_client` from such a call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from lockgate.accounts.clients import Client
from lockgate.errors import Reason, Refusal, StoreUnavailableError
from lockgate.identity.bearer import format_gate
from lockgate.identity.issuer import Subject
from lockgate.identity.model import Identity, VerifiedClaims
from lockgate.observe.audit import Event
from lockgate.sessions.access import split_scope
from lockgate.sessions.call_origin import CallOrigin
from lockgate.sessions.parts import SessionParts, TokenParts
from lockgate.sessions.refresh_token import RefreshClaim, new_sid
from lockgate.stores.layout import UserKeys
from lockgate.stores.redis import store_errors

StillWelcome = Callable[[VerifiedClaims], Awaitable[Identity | Refusal]]
"""Admission's question about a token."""

INACTIVE: dict[str, Any] = {"active": False}
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105 - a type, as RFC 7009 section 2.1 has it


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What a client has shown: its name, and a secret unless it is a public one."""

    client_id: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a grant without a user gives out (RFC 6749 section 4.4.3): no refresh token."""

    access_token: str
    expires_in: int
    scope: str


class Grants:
    """Authenticates clients, gives them tokens, and tells them about tokens.

    Args:
        parts: what all calls about sessions share.
        tokens: makes and reads tokens.
        welcome: asks admission.

    Methods raise `StoreUnavailableError` or `AccountsUnavailableError` where nothing can be promised.
    """

    def __init__(self, parts: SessionParts, tokens: TokenParts, *, welcome: StillWelcome) -> None:
        self._redis = parts.redis
        self._session_store = parts.session_store
        self._accounts = parts.accounts
        self._clients = parts.clients
        self._audit = parts.audit
        self._token = parts.token
        self._access = tokens.access
        self._refresh_tokens = tokens.refresh_tokens
        self._issuer = tokens.issuer
        self._verifier = tokens.verifier
        self._welcome = welcome

    async def authenticate(self, shown: ClientCredentials | None, call: CallOrigin) -> Client | Refusal | None:
        """The client that calls; `None` without credentials, which is the public client.

        A client that names itself without a secret is the public one or refused.
        """
        if shown is None or (shown.secret is None and shown.client_id == self._token.client_id):
            return None
        client = await self._clients.authenticate(shown.client_id, shown.secret) if shown.secret is not None else None
        if client is not None:
            return client
        return await self._unknown_or_wrong(shown.client_id, call)

    def turn_away(self, refusal: Refusal, call: CallOrigin) -> Refusal:
        """Note that a client was refused which has shown nothing that it could be known by."""
        self._audit.log(Event.CLIENT_REFUSED, reason=refusal.reason.name.lower(), **call.audit_fields)
        return refusal

    async def _unknown_or_wrong(self, client_id: str, call: CallOrigin) -> Refusal:
        """Note that the name or the secret of a client was wrong, without writing down a secret in the name's place."""
        if not await self._clients.exists(client_id):
            client = hashlib.sha256(client_id.encode("utf-8", "replace")).hexdigest()[:32]
            self._audit.log(Event.CLIENT_REFUSED, client=client, reason="unknown", **call.audit_fields)
            return Refusal(Reason.CLIENT_REFUSED)
        # A client that knows the name of another can do that without limit.
        words = {"client_id": client_id, "reason": "wrong", **call.audit_fields}
        self._audit.record_some(Event.CLIENT_REFUSED, client_id, words, most=1)
        return Refusal(Reason.CLIENT_REFUSED)

    async def client_credentials(self, client: Client, scope: str, call: CallOrigin) -> AccessToken | Refusal:
        """A token in a client's own name (RFC 6749 section 4.4).

        Args:
            client: that has authenticated.
            scope: what it asks for; empty for everything it may.
            call: where it came from.
        """
        wanted = split_scope(scope) or client.scopes
        if not wanted <= client.scopes:
            self._audit.record(
                Event.CLIENT_REFUSED, client_id=client.client_id, reason="scope_invalid", **call.audit_fields
            )
            return Refusal(Reason.SCOPE_INVALID)
        with store_errors():
            epoch = int(await self._redis.get(UserKeys.of(client.sub).epoch) or 0)
        # Looked at after the epoch: a client that is being removed is either found gone, or its token dies with it.
        if not await self._clients.knows(client):
            self._audit.record(Event.CLIENT_REFUSED, client_id=client.client_id, reason="removed", **call.audit_fields)
            return Refusal(Reason.CLIENT_REFUSED)
        scopes = sorted(wanted)
        text = self._issuer.issue(
            Subject(
                sub=client.sub,
                sid=new_sid(),
                client_id=client.client_id,
                epoch=epoch,
                roles=(),
                scopes=scopes,
                auth_time=None,
                amr=(),
            )
        )
        self._audit.record(Event.CLIENT_TOKEN, sub=client.sub, client_id=client.client_id, **call.audit_fields)
        return AccessToken(text, self._issuer.life_s, " ".join(scopes))

    async def introspect(self, token: str, client: Client, call: CallOrigin) -> dict[str, Any]:
        """What a token is good for now (RFC 7662 section 2.2); of anything else, that it is not active and no more.

        Any client may ask about an access token, but only a session's own client about its refresh token.
        """
        claim = self._refresh_tokens.read(token)
        if claim is not None:
            return await self._introspect_refresh_token(claim, client, call)
        unverified = format_gate(token.encode("utf-8", "replace"))
        claims = unverified if isinstance(unverified, Refusal) else self._verifier.verify(unverified)
        if isinstance(claims, Refusal):
            return INACTIVE
        identity = await self._welcome(claims)
        if isinstance(identity, Refusal):
            if identity.reason is Reason.STORE_AWAY:
                raise StoreUnavailableError("admission")
            return INACTIVE
        return {
            "active": True,
            "scope": " ".join(sorted(identity.scopes)),
            "client_id": identity.client_id,
            "sub": identity.sub,
            "exp": int(claims.exp),
            "iat": int(claims.not_before),
            "aud": self._token.audience,
            "iss": self._token.issuer,
            "jti": identity.jti,
            "token_type": "Bearer",
        }

    async def _introspect_refresh_token(self, claim: RefreshClaim, client: Client, call: CallOrigin) -> dict[str, Any]:
        """What a refresh with this token would find and give, without doing it.

        It is for the gateway alone (`aud`), and of another type than what resources take.
        """
        session = await self._session_store.current(claim)
        if session is None or session.client_id != client.client_id:
            return INACTIVE
        account = await self._accounts.find(session.sub, call.request_id)
        if account is None or account.password_version != session.password_version:
            return INACTIVE
        return {
            "active": True,
            "scope": " ".join(self._access.scopes(session, account)),
            "client_id": session.client_id,
            "sub": session.sub,
            "exp": round(self._issuer.now() + session.expires - session.read_at),
            "iat": int(session.created),
            "aud": self._token.issuer,
            "iss": self._token.issuer,
            "jti": f"{session.sid}.{session.generation}",
            "token_type": REFRESH_TOKEN,
        }
