"""The caller of one of the gateway's own endpoints: its origin, its user, its client."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final
from urllib.parse import unquote_plus

from fastapi import Request
from fastapi.params import Depends
from pydantic import ConfigDict, Field, model_validator

from lockgate.accounts.clients import Client
from lockgate.accounts.throttle import CostBucket
from lockgate.edge.request import InboundRequest
from lockgate.endpoints.bodies import Body
from lockgate.endpoints.problems import BASIC, RefusedError, inbound_request
from lockgate.errors import Reason, Refusal, StoreUnavailableError
from lockgate.identity.bearer import has_scheme, is_joined, scheme_of
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.sessions.authenticator import KeyWatch
from lockgate.sessions.call_origin import CallOrigin
from lockgate.sessions.oauth_clients import ClientCredentials, Grants

ADMIN: Final = "admin"
"""The role that the calls of `/admin` ask for."""

_BASIC: Final = re.compile(rb"[Bb][Aa][Ss][Ii][Cc] ([A-Za-z0-9+/]+=*)")
_MAX_SECRET: Final = 256

SomeText = Annotated[str, Field(max_length=_MAX_SECRET)]


class OAuthBody(Body):
    """A form by RFC 6749 section 3.2: a parameter without a value counts as omitted, an unknown one is ignored."""

    model_config = ConfigDict(extra="ignore")

    client_id: SomeText | None = None
    client_secret: Annotated[SomeText | None, Field(repr=False)] = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, fields: Any) -> Any:  # noqa: ANN401 - the parsed body, of any shape
        return {name: value for name, value in fields.items() if value != ""} if isinstance(fields, dict) else fields


def identity_of(
    judge: Judge, role: str | None = None, *, unlimited: bool = False
) -> Callable[[Request], Awaitable[Identity]]:
    """A dependency: the identity of the caller.

    Args:
        judge: identifies the caller.
        role: a role that the identity must have; `None` where any will do.
        unlimited: the call reaches beyond the session that makes it, so the token must have all rights of its user.

    The dependency raises `RefusedError`: 401 without credentials, 403 without the role or the rights.
    """

    async def find_identity(request: Request) -> Identity:
        verdict = await judge.identify(inbound_request(request))
        if isinstance(verdict, Refusal):
            raise RefusedError(verdict)
        if role is not None and role not in verdict.roles:
            raise RefusedError(Refusal(Reason.ROLE_MISSING))
        if unlimited and verdict.is_limited:
            raise RefusedError(Refusal(Reason.BEYOND_SESSION))
        return verdict

    return find_identity


Stage = Callable[[InboundRequest], Awaitable[None]]
"""What a call passes before its body is read. It raises what `endpoints.problems` makes a problem of."""


def dependencies_of(*stages: Stage) -> list[Depends]:
    """The same stages for a call that FastAPI answers."""

    def dependency(stage: Stage) -> Callable[[Request], Awaitable[None]]:
        async def pass_stage(request: Request) -> None:
            await stage(inbound_request(request))

        return pass_stage

    return [Depends(dependency(stage)) for stage in stages]


def store_of(reachable: Callable[[], bool]) -> Stage:
    """A stage of calls that need Redis: while Redis is known to be away, no call waits for a time-out.

    The stage raises `StoreUnavailableError`.
    """

    async def check_store(_: InboundRequest) -> None:
        if not reachable():
            raise StoreUnavailableError("known to be away")

    return check_store


def current_keys(keys: KeyWatch) -> Stage:
    """A stage of calls that judge or issue credentials: the keys are those on disk, see `KeyWatch`.

    The stage raises `KeysUnknownError`.
    """

    async def look_at_keys(_: InboundRequest) -> None:
        await keys.make_current()

    return look_at_keys


def within_allowance(allowance: CostBucket) -> Stage:
    """A stage of calls that are limited by address.

    The stage raises `RefusedError`: 429 where the allowance is used up.
    """

    async def spend_allowance(request: InboundRequest) -> None:
        refusal = await allowance.spend(request.client)
        if refusal is not None:
            raise RefusedError(refusal)

    return spend_allowance


def call_origin_of(request: Request) -> CallOrigin:
    """The address, user agent and request id of a call."""
    return origin_of(inbound_request(request))


def origin_of(request: InboundRequest) -> CallOrigin:
    """The same for a call that the edge answers itself."""
    agents = request.headers.values_of(b"user-agent")
    agent = agents[0].decode("latin-1") if agents else ""
    return CallOrigin(address=request.client, agent=agent, request_id=request.own_id)


async def client_of(request: InboundRequest, body: OAuthBody | None, grants: Grants) -> Client | None:
    """The client that makes the call, authenticated (RFC 6749 section 2.3.1); `None` without credentials.

    A Bearer token authenticates no client, so it is ignored here in any state: clients send their old token with each
    request. Credentials of a scheme that the gateway does not read are ignored, too.

    Raises:
        RefusedError: 400 for credentials in two places or without a scheme, 401 for wrong credentials.
    """
    fields = request.authorization
    return await _authenticate_client(request, () if _is_ignored(fields) else fields, body, grants)


async def known_client_of(request: InboundRequest, body: OAuthBody, grants: Grants) -> Client:
    """The authenticated client of a call that requires credentials.

    Raises:
        RefusedError: as `client_of`, and 401 without credentials.
    """
    return _require_client(await client_of(request, body, grants), request, grants)


async def introspecting_client_of(request: InboundRequest, body: OAuthBody, grants: Grants) -> Client:
    """The authenticated client of an introspection. RFC 7662 section 2.1 allows a Bearer token: none is ignored.

    Raises:
        RefusedError: as `known_client_of`, and 401 for credentials of any scheme but Basic.
    """
    fields = request.authorization
    return _require_client(await _authenticate_client(request, fields, body, grants), request, grants)


async def _authenticate_client(
    request: InboundRequest, fields: tuple[bytes, ...], body: OAuthBody | None, grants: Grants
) -> Client | None:
    credentials, call = _read_credentials(fields, body), origin_of(request)
    if isinstance(credentials, Refusal):
        raise RefusedError(grants.turn_away(credentials, call))
    found = await grants.authenticate(credentials, call)
    if isinstance(found, Refusal):
        raise RefusedError(found)
    return found


def _require_client(client: Client | None, request: InboundRequest, grants: Grants) -> Client:
    if client is None:
        raise RefusedError(grants.turn_away(Refusal(Reason.CLIENT_REFUSED), origin_of(request)))
    return client


def _is_ignored(fields: tuple[bytes, ...]) -> bool:
    """Whether the request has one credential, of a scheme that authenticates no client."""
    if len(fields) != 1 or is_joined(fields[0]):
        return False
    scheme = scheme_of(fields[0])
    return scheme == b"bearer" or (scheme != BASIC and has_scheme(fields[0]))


def _read_credentials(fields: tuple[bytes, ...], body: OAuthBody | None) -> ClientCredentials | Refusal | None:
    """The credentials of the client: in the Authorization field or in the body, never in both.

    An Authorization field that is not ignored and cannot be read is a malformed credential. A malformed client
    credential must never be treated as no credential.
    """
    client_id, secret = (body.client_id, body.client_secret) if body is not None else (None, None)
    if not fields:
        if client_id is not None:
            return ClientCredentials(client_id, secret)
        return None if secret is None else Refusal(Reason.CLIENT_REFUSED)
    credentials = _parse_authorization(fields)
    if isinstance(credentials, ClientCredentials) and (
        secret is not None or client_id not in (None, credentials.client_id)
    ):
        return Refusal(Reason.CLIENT_REPEATED)
    return credentials


def _parse_authorization(fields: tuple[bytes, ...]) -> ClientCredentials | Refusal:
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
