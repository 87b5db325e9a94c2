"""`/auth/refresh`, `/auth/token` and `/auth/revoke`: what clients call most, so the edge answers these calls itself."""

from __future__ import annotations

from dataclasses import fields
from http import HTTPStatus
from typing import Annotated, Final

from pydantic import Field

from lockgate.edge.own_call import OwnCall, Reply, field_lines
from lockgate.edge.request import InboundRequest
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.bodies import FORM, JSON, BodyRules
from lockgate.endpoints.browser import Browser
from lockgate.endpoints.calls import EdgeCall
from lockgate.endpoints.dependencies import OAuthBody, Stage, client_of, known_client_of, origin_of
from lockgate.endpoints.problems import RefusedError, invalid_fields, problem_reply
from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import bearer
from lockgate.identity.session_cookie import SessionCookie
from lockgate.sessions.cookie_sessions import CookieSession
from lockgate.sessions.lifecycle import Sessions, Tokens
from lockgate.sessions.oauth_clients import AccessToken, Grants
from lockgate_common.problem import as_json

NOT_CACHED: Final = {**SECURITY_HEADERS, "Pragma": "no-cache"}
"""Of responses with tokens (RFC 6749 section 5.1)."""
_TYPE: Final = ("Content-Type", "application/json")
JSON_LINES: Final = field_lines([*SECURITY_HEADERS.items(), _TYPE])
"""Of any other response with a grant in it."""
_TOKEN_LINES: Final = field_lines([*NOT_CACHED.items(), _TYPE])
_MEMBERS: Final = {kind: tuple(part.name for part in fields(kind)) for kind in (Tokens, AccessToken, CookieSession)}
"""The members of each kind of grant. They are not read from `__slots__`, which a compiled class does not have."""
_REVOKED: Final = Reply(HTTPStatus.OK, field_lines(SECURITY_HEADERS.items()))


class Refresh(OAuthBody):
    """The refresh token, and what else OAuth clients send with it (RFC 6749 section 6)."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=4096)]
    grant_type: Annotated[str, Field(pattern="^refresh_token$")] = "refresh_token"
    scope: Annotated[str, Field(max_length=1024)] = ""


class TokenRequest(OAuthBody):
    """A grant (RFC 6749 sections 4.4.2 and 6)."""

    grant_type: Annotated[str, Field(max_length=256)]
    refresh_token: Annotated[str, Field(max_length=4096)] | None = None
    scope: Annotated[str, Field(max_length=1024)] = ""


class Revoke(OAuthBody):
    """The token to revoke (RFC 7009 section 2.1); a wrong or unknown hint changes nothing.

    A token longer than any that the gateway issues is an unknown token, and no error in the request.
    """

    token: Annotated[str, Field(min_length=1)]
    token_type_hint: str | None = None


_REFRESH: Final = BodyRules(Refresh, (JSON, FORM))
_TOKEN: Final = BodyRules(TokenRequest, (FORM,))
_REVOKE: Final = BodyRules(Revoke, (JSON, FORM))


def build_refresh(sessions: Sessions, grants: Grants, browser: Browser, *stages: Stage) -> EdgeCall:
    """`POST /auth/refresh`."""

    async def refresh(call: OwnCall) -> Reply:
        """A new access token and the next refresh token (RFC 6749 section 6).

        With the session cookie and no body: the account is read again, and the cookie stays as it is.
        """
        request = call.request
        cookie = browser.read_cookie(request)
        if cookie is not None:
            return grant_reply(await refresh_by(request, cookie), JSON_LINES)
        body = await _REFRESH.read(request, call.read_body)
        client = await client_of(request, body, grants)
        outcome = await sessions.refresh(body.refresh_token, origin_of(request), client=client, scope=body.scope)
        return _token_reply(request, outcome, JSON_LINES)

    async def refresh_by(request: InboundRequest, cookie: SessionCookie | Refusal) -> CookieSession:
        # A well-formed Bearer is ignored here; a malformed one never leads to the cookie.
        if request.has_body or isinstance(bearer(request.authorization), Refusal):
            raise RefusedError(Refusal(Reason.REPEATED_CREDENTIALS))
        browser.check_same_site(request)
        held = cookie if isinstance(cookie, Refusal) else await browser.cookies.refresh(cookie, request.own_id)
        if isinstance(held, Refusal):
            raise RefusedError(held)
        return held

    described = _REFRESH.describe(required=browser.mode == "off")
    return EdgeCall("/auth/refresh", ("POST",), refresh, "auth", stages, described)


def build_token(sessions: Sessions, grants: Grants, *stages: Stage) -> EdgeCall:
    """`POST /auth/token`."""

    async def token(call: OwnCall) -> Reply:
        """Tokens for a client in its own name, or the next ones of a session (RFC 6749 section 3.2)."""
        request = call.request
        body = await _TOKEN.read(request, call.read_body)
        if body.grant_type == "client_credentials":
            client = await known_client_of(request, body, grants)
            granted = await grants.client_credentials(client, body.scope, origin_of(request))
            return _token_reply(request, granted, _TOKEN_LINES)
        if body.grant_type != "refresh_token":
            return problem_reply(request, Refusal(Reason.GRANT_UNSUPPORTED))
        if body.refresh_token is None:
            return problem_reply(request, invalid_fields((("body", "refresh_token"), "missing")))
        presenting = await client_of(request, body, grants)
        outcome = await sessions.refresh(body.refresh_token, origin_of(request), client=presenting, scope=body.scope)
        return _token_reply(request, outcome, _TOKEN_LINES)

    return EdgeCall("/auth/token", ("POST",), token, "oauth", stages, _TOKEN.describe())


def build_revoke(sessions: Sessions, grants: Grants, *stages: Stage) -> EdgeCall:
    """`POST /auth/revoke`."""

    async def revoke(call: OwnCall) -> Reply:
        """Revoke a token (RFC 7009); 200 also for an unknown token, or a token of another client."""
        request = call.request
        body = await _REVOKE.read(request, call.read_body)
        client = await client_of(request, body, grants)
        await sessions.revoke(body.token, origin_of(request), client=client)
        return _REVOKED

    return EdgeCall("/auth/revoke", ("POST",), revoke, "auth", stages, _REVOKE.describe(), has_content=False)


def _token_reply(request: InboundRequest, outcome: Tokens | AccessToken | Refusal, lines: bytes) -> Reply:
    return problem_reply(request, outcome) if isinstance(outcome, Refusal) else grant_reply(outcome, lines)


def grant_reply(outcome: Tokens | AccessToken | CookieSession, lines: bytes) -> Reply:
    """The response to a login, a refresh or a grant, with these field lines."""
    members = {} if isinstance(outcome, CookieSession) else {"token_type": "Bearer"}
    found = {name: getattr(outcome, name) for name in _MEMBERS[type(outcome)]}
    return Reply(HTTPStatus.OK, lines, as_json(members | found))
