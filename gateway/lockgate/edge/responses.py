"""Problem responses as bytes (RFC 9457). Of the request, a response repeats the request id only."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from lockgate.errors import Reason, Refusal
from lockgate_common.problem import NO_STORE, PROBLEM_TYPE, as_json, problem_document

REALM: Final = "lockgate"
PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
NO_SNIFFING: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""Header fields of every response, cacheable ones too."""
SECURITY_HEADERS: Final = {**NO_STORE, **NO_SNIFFING}
"""Header fields of every response that no cache may keep."""
_OTHER_CREDENTIALS: Final = frozenset(
    {
        Reason.REPEATED_CREDENTIALS,
        Reason.MALFORMED_CREDENTIALS,
        Reason.SCOPE_MISSING,
        Reason.BEYOND_SESSION,
        Reason.ROLE_MISSING,
        Reason.NOT_OWNER,
        Reason.EMAIL_UNVERIFIED,
    }
)
"""Reasons other than 401 that other credentials would remove, so the response carries a challenge."""
RETRY_AFTER_S: Final = 1


def build_problem(refusal: Refusal, request_id: str, *, oauth: bool) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Header fields and body of the response to a refused request.

    Args:
        refusal: why the request is refused.
        request_id: finds the request in the logs.
        oauth: the client of this call speaks OAuth: add `error` and `error_description` where OAuth has a code.
    """
    status, code, title, oauth_error = refusal.reason.response
    body = problem_document(
        status=status, title=PHRASES[status], detail=title, code=code, request_id=request_id, more=refusal.members
    )
    if oauth and oauth_error is not None:
        body["error"] = oauth_error
        body["error_description"] = title
    head = [("Content-Type", PROBLEM_TYPE), *SECURITY_HEADERS.items(), ("X-Request-Id", request_id)]
    challenge = _challenge(refusal)
    if challenge is not None:
        head.append(("WWW-Authenticate", challenge))
    head.extend(refusal.headers)
    if status == HTTPStatus.SERVICE_UNAVAILABLE and not any(name == "Retry-After" for name, _ in refusal.headers):
        head.append(("Retry-After", str(RETRY_AFTER_S)))
    return head, body


def render_problem(  # noqa: PLR0913 - what a response depends on
    refusal: Refusal, request_id: str, *, oauth: bool, close: bool, body: bool, date: str, more: str = ""
) -> bytes:
    """The whole response: status line, header fields, and the body unless the request was a HEAD.

    Args:
        refusal: why the request is refused.
        request_id: finds the request in the logs.
        oauth: see `build_problem`.
        close: the connection ends with this response.
        body: `False` for HEAD.
        date: the value of the Date field.
        more: further field lines, each ended by CRLF.
    """
    fields, content = build_problem(refusal, request_id, oauth=oauth)
    payload = as_json(content)
    status = refusal.reason.status
    fields.append(("Content-Length", str(len(payload))))
    fields.append(("Date", date))
    if close:
        fields.append(("Connection", "close"))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = f"HTTP/1.1 {status} {PHRASES[status]}\r\n{lines}{more}\r\n".encode("latin-1")
    return head + payload if body else head


def render_no_content(lines: str, request_id: str, date: str) -> bytes:
    """A 204 response to a CORS preflight.

    Args:
        lines: the CORS field lines, each ended by CRLF.
        request_id: finds the request in the logs.
        date: the value of the Date field.
    """
    return f"HTTP/1.1 204 No Content\r\n{lines}Date: {date}\r\nX-Request-Id: {request_id}\r\n\r\n".encode("latin-1")


def _challenge(refusal: Refusal) -> str | None:
    """WWW-Authenticate of RFC 6750 section 3 and RFC 9470 section 3: no `error` where no credentials were sent."""
    status, _, title, oauth_error = refusal.reason.response
    if refusal.reason is Reason.CLIENT_REFUSED:
        return None  # only the call knows which scheme the client used, so the call writes its own challenge
    if refusal.reason is Reason.NO_CREDENTIALS:
        return f'Bearer realm="{REALM}"'
    if status != HTTPStatus.UNAUTHORIZED and refusal.reason not in _OTHER_CREDENTIALS:
        return None
    scope = f', scope="{refusal.scope}"' if refusal.scope else ""
    max_age = f', max_age="{refusal.max_age_s}"' if refusal.max_age_s else ""
    return f'Bearer realm="{REALM}", error="{oauth_error}", error_description="{title}"{scope}{max_age}'
