"""OAuth for clients that have a secret: tokens in their own name, and what a token is good for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from gateway.errors import Reason, Refusal, StoreUnavailableError
from gateway.identity.bearer import format_gate
from gateway.identity.issuer import Issuer, Subject
from gateway.identity.model import Identity, VerifiedClaims
from gateway.identity.verifier import Verifier
from gateway.observe.audit import Audit, Event
from gateway.sessions.clients import Client, Clients
from gateway.sessions.families import Families
from gateway.sessions.refresh_token import RefreshTokens, new_sid
from gateway.sessions.service import Visitor
from gateway.settings import TokenSettings
from gateway.stores.layout import UserKeys
from gateway.stores.redis import store_errors

StillWelcome = Callable[[VerifiedClaims], Awaitable[Identity | Refusal]]
"""Admission's question about a token."""

INACTIVE: dict[str, Any] = {"active": False}


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
        redis: knows epochs.
        clients: know secrets.
        families: know sessions.
        refresh_tokens: read them.
        issuer: makes access tokens.
        verifier: reads them.
        welcome: asks admission.
        token: who issues, for whom.
        audit: is told of everything but introspection.

    Methods raise `StoreUnavailableError` where nothing can be promised.
    """

    def __init__(  # noqa: PLR0913 - the parts that a grant touches
        self,
        *,
        redis: Redis,
        clients: Clients,
        families: Families,
        refresh_tokens: RefreshTokens,
        issuer: Issuer,
        verifier: Verifier,
        welcome: StillWelcome,
        token: TokenSettings,
        audit: Audit,
    ) -> None:
        self._redis = redis
        self._clients = clients
        self._families = families
        self._refresh_tokens = refresh_tokens
        self._issuer = issuer
        self._verifier = verifier
        self._welcome = welcome
        self._token = token
        self._audit = audit

    async def authenticate(self, shown: ClientCredentials | None, visitor: Visitor) -> Client | Refusal | None:
        """The client that calls; `None` for nobody in particular, which is the public client.

        A client that names itself without a secret is the public one or refused.
        """
        if shown is None or (shown.secret is None and shown.client_id == self._token.client_id):
            return None
        client = await self._clients.authenticate(shown.client_id, shown.secret) if shown.secret is not None else None
        if client is not None:
            return client
        self._audit.record(Event.CLIENT_REFUSED, client_id=shown.client_id, reason="unknown or wrong", **visitor.facts)
        return Refusal(Reason.CLIENT_REFUSED)

    async def client_credentials(self, client: Client, scope: str, visitor: Visitor) -> AccessToken | Refusal:
        """A token in a client's own name (RFC 6749 section 4.4).

        Args:
            client: who has authenticated.
            scope: what it asks for; empty for everything it may.
            visitor: who calls.
        """
        wanted = frozenset(scope.split()) or client.scopes
        if not wanted <= client.scopes:
            self._audit.record(
                Event.CLIENT_REFUSED, client_id=client.client_id, reason="scope_invalid", **visitor.facts
            )
            return Refusal(Reason.SCOPE_INVALID)
        with store_errors():
            epoch = int(await self._redis.get(UserKeys.of(client.sub).epoch) or 0)
            # Read after the epoch: a client that is being removed is either found gone, or its token dies with it.
            known = await self._clients.exists(client.client_id)
        if not known:
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
                auth_time=int(self._issuer.now()),
                amr=(),
            )
        )
        self._audit.record(Event.CLIENT_TOKEN, sub=client.sub, client_id=client.client_id, **visitor.facts)
        return AccessToken(text, self._issuer.life_s, " ".join(scopes))

    async def introspect(self, token: str, client: Client) -> dict[str, Any]:
        """What a token is good for now (RFC 7662 section 2.2); of anything else, that it is not active and no more.

        Any client may ask about an access token, but only a session's own client about its refresh token.
        """
        claim = self._refresh_tokens.read(token)
        if claim is not None:
            session = await self._families.current(claim)
            if session is None or session.client_id != client.client_id:
                return INACTIVE
            return {
                "active": True,
                "client_id": session.client_id,
                "sub": claim.sub,
                "iss": self._token.issuer,
                "iat": int(session.created),
                "exp": int(session.ends),
                **({"scope": session.scope} if session.scope is not None else {}),
            }
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
