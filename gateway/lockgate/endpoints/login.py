"""`POST /auth/login`: a session begins. It goes on in `endpoints.grants`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from lockgate.edge.own_call import OwnCall, Reply, field_lines
from lockgate.endpoints.bodies import Body, BodyRules
from lockgate.endpoints.browser import Browser
from lockgate.endpoints.calls import EdgeCall
from lockgate.endpoints.dependencies import Stage, client_of, origin_of
from lockgate.endpoints.grants import JSON_LINES, grant_reply
from lockgate.endpoints.problems import problem_reply
from lockgate.endpoints.sessions import Solved
from lockgate.errors import Refusal
from lockgate.identity.session_cookie import SessionCookie
from lockgate.sessions.lifecycle import Sessions, Tokens
from lockgate.sessions.oauth_clients import Grants


class Login(Body):
    """Credentials; `mode` says whether the response holds tokens, or sets a cookie and holds none."""

    username: Annotated[str, Field(min_length=1, max_length=256)]
    password: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    captcha: Solved | None = None
    mode: Literal["token", "cookie"] = "token"


_LOGIN: Final = BodyRules(Login)


def build_login(sessions: Sessions, grants: Grants, browser: Browser, *stages: Stage) -> EdgeCall:
    """`POST /auth/login`."""

    async def login(call: OwnCall) -> Reply:
        """Begin a session, on behalf of the authenticated client, if there is one.

        The session of a cookie in the request ends: the response sets another cookie, or deletes it.
        """
        request = call.request
        body = await _LOGIN.read(request, call.read_body)
        old = browser.read_replaced_cookie(request, wanted=body.mode == "cookie")
        client, origin = await client_of(request, None, grants), origin_of(request)
        captcha = body.captcha.to_answer() if body.captcha else None
        log_in = sessions.login_by_cookie if body.mode == "cookie" else sessions.login
        outcome = await log_in(body.username, body.password, origin, captcha=captcha, client=client)
        if isinstance(outcome, Refusal):
            return problem_reply(request, outcome)
        if isinstance(old, SessionCookie):
            await sessions.replace(old, origin)
        if isinstance(outcome, Tokens):
            return grant_reply(outcome, JSON_LINES + field_lines(browser.delete_cookie(old)))
        cookie, held = outcome
        return grant_reply(held, JSON_LINES + field_lines([browser.set_cookie(cookie, held.refresh_expires_in)]))

    return EdgeCall("/auth/login", ("POST",), login, "auth", stages, _LOGIN.describe())
