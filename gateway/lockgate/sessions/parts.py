"""What the calls about sessions share."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.accounts.clients import Clients
from lockgate.accounts.users import Accounts
from lockgate.identity.issuer import Issuer
from lockgate.identity.verifier import Verifier
from lockgate.observe.audit import Audit
from lockgate.sessions.access import AccessTokens
from lockgate.sessions.refresh_token import RefreshTokens
from lockgate.sessions.session_store import SessionStore
from lockgate.settings import TokenSettings
from lockgate_common.redis.client import RedisClient


@dataclass(frozen=True, slots=True)
class SessionParts:
    """The stores and records that a call about a session may need.

    Attributes:
        redis: holds sessions, the blocklist and clients.
        token: lifetimes, issuer and the public client.
    """

    redis: RedisClient
    session_store: SessionStore
    accounts: Accounts
    clients: Clients
    audit: Audit
    token: TokenSettings


@dataclass(frozen=True, slots=True)
class TokenParts:
    """What makes tokens, and reads them.

    Attributes:
        access: makes the access tokens of sessions; `issuer` makes any.
        verifier: reads access tokens.
    """

    access: AccessTokens
    issuer: Issuer
    refresh_tokens: RefreshTokens
    verifier: Verifier
