"""The session cookie of a call to the gateway itself: shown, set, taken away."""

from __future__ import annotations

from fastapi import Request, Response

from lockgate.endpoints.problems import RefusedError, inbound
from lockgate.errors import Reason, Refusal
from lockgate.identity.session_cookie import Mode, SessionCookie, delete_cookie, set_cookie
from lockgate.policy.origins import Origins
from lockgate.sessions.cookie_sessions import CookieSessions

Shown = SessionCookie | Refusal | None
"""A cookie, or what is wrong with it; `None` where there is none."""


class Browser:
    """What calls need to know about cookies.

    Args:
        cookies: are read and looked up by it.
        origins: the pages that may use them.
    """

    def __init__(self, cookies: CookieSessions, origins: Origins) -> None:
        self.cookies = cookies
        self._origins = origins

    @property
    def mode(self) -> Mode:
        """Whether there are cookies, and of which kind."""
        return self.cookies.mode

    def quoted(self, request: Request) -> Shown:
        """The session cookie of a call.

        Raises:
            RefusedError: 400, there are two.
        """
        value = self.cookies.presented(inbound(request).headers)
        if isinstance(value, Refusal):
            raise RefusedError(value)
        return None if value is None else self.cookies.read(value)

    def to_replace(self, request: Request, *, wanted: bool) -> Shown:
        """The cookie that comes along with a login.

        Args:
            request: the login.
            wanted: whether it asks for a cookie.

        Raises:
            RefusedError: 400, there are no cookies here, or two; 403, no page of another site may log a user in.
        """
        old = self.quoted(request)
        if wanted and self.mode == "off":
            raise RefusedError(Refusal(Reason.COOKIES_OFF))
        if wanted or old is not None:
            self.not_cross_site(request)
        return old

    def not_cross_site(self, request: Request) -> None:
        """See that a page of an allowed origin makes this call.

        Raises:
            RefusedError: 403.
        """
        refusal = self._origins.refuse_cross_site(inbound(request))
        if refusal is not None:
            raise RefusedError(refusal)

    def given(self, answer: Response, cookie: SessionCookie, max_age_s: int) -> Response:
        """The answer, which sets a cookie."""
        answer.headers["Set-Cookie"] = set_cookie(self.mode, cookie.value, max_age_s)
        return answer

    def taken(self, answer: Response, shown: Shown) -> Response:
        """The answer, which takes the cookie away that was shown, if one was."""
        if shown is not None:
            answer.headers["Set-Cookie"] = delete_cookie(self.mode)
        return answer
