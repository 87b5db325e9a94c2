"""The session cookie of a call to the gateway itself: read, set, deleted."""

from __future__ import annotations

from lockgate.edge.request import InboundRequest
from lockgate.endpoints.problems import RefusedError
from lockgate.errors import Reason, Refusal
from lockgate.identity.session_cookie import Mode, SessionCookie, delete_cookie, set_cookie
from lockgate.keys.current import Current
from lockgate.policy.rules import Rules
from lockgate.sessions.cookie_sessions import CookieSessions

Field = tuple[str, str]
PresentedCookie = SessionCookie | Refusal | None
"""The session cookie of a request, or the refusal of a malformed one; `None` without a cookie."""


class Browser:
    """Reads the session cookie of a request, and sets or deletes it in a response.

    Args:
        cookies: reads and looks up the values of cookies.
        rules: name the pages that may use the cookies.
    """

    def __init__(self, cookies: CookieSessions, rules: Current[Rules]) -> None:
        self.cookies = cookies
        self._rules = rules

    @property
    def mode(self) -> Mode:
        """Whether there are cookies, and of which kind."""
        return self.cookies.mode

    def read_cookie(self, request: InboundRequest) -> PresentedCookie:
        """The session cookie of a call.

        Raises:
            RefusedError: 400, the request has two session cookies.
        """
        value = self.cookies.presented(request.headers)
        if isinstance(value, Refusal):
            raise RefusedError(value)
        return None if value is None else self.cookies.read(value)

    def read_replaced_cookie(self, request: InboundRequest, *, wanted: bool) -> PresentedCookie:
        """The session cookie that comes along with a login; the response to the login replaces or deletes it.

        Args:
            request: the request to log in.
            wanted: whether the login asks for a cookie.

        Raises:
            RefusedError: 400, cookies are off, or the request has two; 403, a page of another site must not log a
                user in.
        """
        old = self.read_cookie(request)
        if wanted and self.mode == "off":
            raise RefusedError(Refusal(Reason.COOKIES_OFF))
        if wanted or old is not None:
            self.check_same_site(request)
        return old

    def check_same_site(self, request: InboundRequest) -> None:
        """Check that a page of an allowed origin makes this call.

        Raises:
            RefusedError: 403, it does not.
        """
        refusal = self._rules.value.origins.refuse_cross_site(request)
        if refusal is not None:
            raise RefusedError(refusal)

    def set_cookie(self, cookie: SessionCookie, max_age_s: int) -> Field:
        """The field of a response that gives the browser this cookie."""
        return "Set-Cookie", set_cookie(self.mode, cookie.value, max_age_s)

    def delete_cookie(self, presented: PresentedCookie) -> tuple[Field, ...]:
        """The field of a response that deletes the cookie of the request; none where the request had none."""
        return () if presented is None else (("Set-Cookie", delete_cookie(self.mode)),)
