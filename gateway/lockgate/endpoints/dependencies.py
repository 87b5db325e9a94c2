"""The caller of one of the gateway's own endpoints: its origin, its user, its client."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final
from urllib.parse import unquote_plus

from fastapi import Request
from pydantic import ConfigDict, Field, model_validator

from lockgate.accounts.clients import Client
from lockgate.accounts.throttle import Allowance
from lockgate.endpoints.bodies import Body
from lockgate.endpoints.problems import BASIC, RefusedError, inbound
from lockgate.errors import Reason, Refusal, StoreUnavailableError
from lockgate.identity.bearer import has_scheme, is_joined, scheme_of
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.sessions.call_origin import CallOrigin
from lockgate.sessions.oauth_clients import ClientCredentials, Grants

ADMIN: Final = "admin"
"""The role that the calls of `/admin` ask for."""

_BASIC: Final = re.compile(rb"[Bb][Aa][Ss][Ii][Cc] ([A-Za-z0-9+/]+=*)")
_MAX_SECRET: Final = 256

SomeText = Annotated[str, Field(max_length=_MAX_SECRET)]


class OAuthBody(Body):
    """A form as RFC 6749 section 3.2 has it: what has no value was not sent, and what is unknown does not matter."""

    model_config = ConfigDict(extra="ignore")

    client_id: SomeText | None = None
    client_secret: Annotated[SomeText | None, Field(repr=False)] = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, fields: Any) -> Any:  # noqa: ANN401 - whatever was sent
        return {name: value for name, value in fields.items() if value != ""} if isinstance(fields, dict) else fields


def identity_of(
    judge: Judge, role: str | None = None, *, unlimited: bool = False
) -> Callable[[Request], Awaitable[Identity]]:
    """A dependency: the identity that calls.

    Args:
        judge: identifies it.
        role: that it must have.
        unlimited: the call reaches beyond the session that makes it, so the token must have all rights of its user.

    The dependency raises `RefusedError`: 401 without credentials, 403 without the role or the rights.
    """

    async def find(request: Request) -> Identity:
        verdict = await judge.identify(inbound(request))
        if isinstance(verdict, Refusal):
            raise RefusedError(verdict)
        if role is not None and role not in verdict.roles:
            raise RefusedError(Refusal(Reason.ROLE_MISSING))
        if unlimited and verdict.is_limited:
            raise RefusedError(Refusal(Reason.BEYOND_SESSION))
        return verdict

    return find


def store_of(reachable: Callable[[], bool]) -> Callable[[], Awaitable[None]]:
    """A dependency of calls that cannot do without Redis: while it is known to be away, no call waits for a time-out.

    Args:
        reachable: whether there is a Redis to ask, as far as is known.

    The dependency raises `StoreUnavailableError`.
    """

    async def check() -> None:
        if not reachable():
            raise StoreUnavailableError("known to be away")

    return check


def within(allowance: Allowance) -> Callable[[Request], Awaitable[None]]:
    """A dependency of calls of which an address may make so many.

    The dependency raises `RefusedError`: 429 where they are used up.
    """

    async def spend(request: Request) -> None:
        refusal = await allowance.spend(call_origin_of(request).address)
        if refusal is not None:
            raise RefusedError(refusal)

    return spend


def call_origin_of(request: Request) -> CallOrigin:
    """Where a call comes from."""
    source = inbound(request)
    agents = source.headers.values_of(b"user-agent")
    agent = agents[0].decode("latin-1") if agents else ""
    return CallOrigin(address=source.client, agent=agent, request_id=source.own_id)


async def client_of(request: Request, body: OAuthBody | None, grants: Grants) -> Client | None:
    """The client that calls, authenticated (RFC 6749 section 2.3.1); `None` without credentials.

    A Bearer does not authenticate here, so one that comes along is ignored in any state: clients
    send their old token with each request. Neither do credentials of a scheme that is not read at all.

    Raises:
        RefusedError: 400 for two ways at once or no scheme, 401 for credentials that are wrong.
    """
    fields = inbound(request).headers.authorization
    return await _authenticate_client(request, () if _is_ignored(fields) else fields, body, grants)


async def known_client_of(request: Request, body: OAuthBody, grants: Grants) -> Client:
    """The same, where credentials are required.

    Raises:
        RefusedError: as `client_of`, and 401 without credentials.
    """
    return _known(await client_of(request, body, grants), request, grants)


async def introspecting_client_of(request: Request, body: OAuthBody, grants: Grants) -> Client:
    """The same where nothing is ignored: a Bearer might mean to authenticate the caller (RFC 7662 section 2.1).

    Raises:
        RefusedError: as `known_client_of`, and 401 for credentials of any scheme but Basic.
    """
    fields = inbound(request).headers.authorization
    return _known(await _authenticate_client(request, fields, body, grants), request, grants)


async def _authenticate_client(
    request: Request, fields: tuple[bytes, ...], body: OAuthBody | None, grants: Grants
) -> Client | None:
    shown, call = _shown(fields, body), call_origin_of(request)
    if isinstance(shown, Refusal):
        raise RefusedError(grants.turn_away(shown, call))
    found = await grants.authenticate(shown, call)
    if isinstance(found, Refusal):
        raise RefusedError(found)
    return found


def _known(client: Client | None, request: Request, grants: Grants) -> Client:
    if client is None:
        raise RefusedError(grants.turn_away(Refusal(Reason.CLIENT_REFUSED), call_origin_of(request)))
    return client


def _is_ignored(fields: tuple[bytes, ...]) -> bool:
    """Whether there is one credential, of a scheme that authenticates no client."""
    if len(fields) != 1 or is_joined(fields[0]):
        return False
    scheme = scheme_of(fields[0])
    return scheme == b"bearer" or (scheme != BASIC and has_scheme(fields[0]))


def _shown(fields: tuple[bytes, ...], body: OAuthBody | None) -> ClientCredentials | Refusal | None:
    """What the client has shown: in the Authorization field, or in the body, never in both.

    An Authorization field that is not ignored and cannot be read is a malformed credential. A malformed client
    credential must never be treated as no credential.
    """
    client_id, secret = (body.client_id, body.client_secret) if body is not None else (None, None)
    if not fields:
        if client_id is not None:
            return ClientCredentials(client_id, secret)
        return None if secret is None else Refusal(Reason.CLIENT_REFUSED)
    shown = _in_field(fields)
    if isinstance(shown, ClientCredentials) and (secret is not None or client_id not in (None, shown.client_id)):
        return Refusal(Reason.CLIENT_REPEATED)
    return shown


def _in_field(fields: tuple[bytes, ...]) -> ClientCredentials | Refusal:
    if len(fields) > 1 or is_joined(fields[0]):
        return Refusal(Reason.CLIENT_REPEATED)
    if scheme_of(fields[0]) != BASIC and not has_scheme(fields[0]):
        return Refusal(Reason.MALFORMED_CREDENTIALS)
    return _parse_basic(fields[0]) or Refusal(Reason.CLIENT_REFUSED)


def _parse_basic(field: bytes) -> ClientCredentials | None:
    """Name and secret of `Basic …`; each is form-encoded within (RFC 6749 section 2.3.1)."""
    match = _BASIC.fullmatch(field)
    if match is None:
        return None
    try:
        name, colon, secret = base64.b64decode(match[1], validate=True).decode("ascii").partition(":")
    except ValueError:
        return None
    if not colon or max(len(name), len(secret)) > 3 * _MAX_SECRET:
        return None
    return ClientCredentials(unquote_plus(name), unquote_plus(secret))
