"""Turns refusals and faults of the gateway's own calls into problem responses (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lockgate.edge.asgi import NOTE_REASON_KEY, REQUEST_KEY
from lockgate.edge.own_call import Reply, field_lines
from lockgate.edge.request import InboundRequest
from lockgate.edge.responses import REALM, SECURITY_HEADERS, build_problem
from lockgate.errors import (
    AccountsUnavailableError,
    CaptchaUnavailableError,
    KeysUnknownError,
    Reason,
    Refusal,
    StoreUnavailableError,
)
from lockgate.identity.bearer import scheme_of
from lockgate_common.problem import PROBLEM_TYPE, Place, as_json, faulty_fields, problem_schema

OAUTH_PREFIX = "/auth"
BASIC: Final = b"basic"
"""The scheme that authenticates clients."""

DESCRIBED: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {
            PROBLEM_TYPE: {
                "schema": problem_schema(
                    required=("type", "title", "status", "code", "request_id"), request_id="string"
                )
            }
        },
    }
}
"""The response that every call may have; it keeps the framework from describing a 422 that never comes."""


class RefusedError(Exception):
    """Carries a refusal out of a dependency, where a return value would go on to the endpoint."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason.name)
        self.refusal = refusal


_FAULTS: Final = (
    RefusedError,
    StoreUnavailableError,
    AccountsUnavailableError,
    CaptchaUnavailableError,
    KeysUnknownError,
)
"""What a call may raise instead of a response; anything else is a defect, and 500."""


def refusal_of(error: Exception) -> Refusal:
    """The refusal of a call that raised one of `_FAULTS`.

    Raises:
        Exception: the error, if it is another one.
    """
    if isinstance(error, RefusedError):
        return error.refusal
    if isinstance(error, StoreUnavailableError):
        return Refusal(Reason.STORE_AWAY, note=str(error))
    if isinstance(error, AccountsUnavailableError):
        return Refusal(error.reason, note=str(error))
    if isinstance(error, CaptchaUnavailableError):
        return Refusal(Reason.CAPTCHA_AWAY, note=str(error))
    if isinstance(error, KeysUnknownError):
        return Refusal(Reason.KEYS_UNKNOWN, note=str(error))
    raise error


def inbound_request(request: Request) -> InboundRequest:
    """The request as the edge parsed it."""
    found: InboundRequest = request.scope[REQUEST_KEY]
    return found


def problem_response(request: Request, refusal: Refusal) -> JSONResponse:
    """The problem response for a refusal; the log and the metrics get its reason."""
    request.scope[NOTE_REASON_KEY](refusal.reason)
    headers, body = _build_own_problem(inbound_request(request), refusal)
    return JSONResponse(body, status_code=refusal.reason.status, headers=headers, media_type=PROBLEM_TYPE)


def problem_reply(request: InboundRequest, refusal: Refusal) -> Reply:
    """The same for a call that the edge answers itself."""
    headers, body = _build_own_problem(request, refusal)
    lines = field_lines([*headers.items(), ("Content-Type", PROBLEM_TYPE)])
    return Reply(refusal.reason.status, lines, as_json(body), refusal.reason)


def _build_own_problem(source: InboundRequest, refusal: Refusal) -> tuple[dict[str, str], dict[str, Any]]:
    fields, body = build_problem(refusal, source.request_id, oauth=speaks_oauth(source.path))
    # The edge adds the request id to every response.
    headers = {name: value for name, value in fields if name not in ("Content-Type", "X-Request-Id")}
    if refusal.reason is Reason.CLIENT_REFUSED and _uses_basic(source):
        # RFC 6749 section 5.2. Any other client would be told to use Basic, and a browser would ask for a password.
        headers["WWW-Authenticate"] = f'Basic realm="{REALM}"'
    return headers, body


def invalid_fields(*errors: tuple[Place, str], known_at: Callable[[Place], Sequence[str]] | None = None) -> Refusal:
    """The refusal of fields, which names them; for `errors` and `known_at` see `faulty_fields`."""
    return Refusal(Reason.INVALID_FIELDS, members={"errors": faulty_fields(errors, known_at)})


def unreadable_body(rule: str, position: int | None = None) -> Refusal:
    """The refusal of a body that cannot be read.

    Args:
        rule: the broken rule.
        position: how many bytes of the body stand before the fault; `None` where that is not known.
    """
    where = {} if position is None else {"position": position}
    return Refusal(Reason.UNREADABLE_BODY, members={"errors": [{"field": "body", "rule": rule, **where}]})


def _uses_basic(request: InboundRequest) -> bool:
    return any(scheme_of(field) == BASIC for field in request.authorization)


def confirm_change(*, found: bool) -> Response:
    """The response to a change: 204.

    Raises:
        RefusedError: 404, the record to change does not exist.
    """
    if not found:
        raise RefusedError(Refusal(Reason.NOT_FOUND))
    return Response(status_code=204, headers=SECURITY_HEADERS)


def describe_refusals(*reasons: Reason) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a call that may be refused for these reasons, for its description."""
    found: dict[int | str, dict[str, Any]] = {}
    for reason in reasons:
        words = f"`{reason.code}`: {reason.response.title}"
        before = found.get(reason.status, {}).get("description")
        content = DESCRIBED["default"]["content"]
        found[reason.status] = {"description": f"{before}; {words}" if before else words, "content": content}
    return found


def speaks_oauth(path: str) -> bool:
    """Whether the clients of a path expect OAuth's error words (RFC 6749 section 5.2)."""
    return path == OAUTH_PREFIX or path.startswith(f"{OAUTH_PREFIX}/")


def install_handlers(app: FastAPI) -> None:
    """Answer every refusal and fault of the application with a problem, and say so of the routers added later."""
    app.router.responses.update(DESCRIBED)

    async def on_fault(request: Request, error: Exception) -> JSONResponse:
        return problem_response(request, refusal_of(error))

    for kind in _FAULTS:
        app.add_exception_handler(kind, on_fault)

    @app.exception_handler(RequestValidationError)
    async def _on_invalid_query(request: Request, error: RequestValidationError) -> JSONResponse:
        """`bodies` judges bodies, so this is the query. The framework's own response would echo it."""
        return problem_response(request, invalid_fields(*((one["loc"], one["type"]) for one in error.errors())))

    @app.exception_handler(HTTPException)
    async def _on_framework_refusal(request: Request, error: HTTPException) -> JSONResponse:
        """The framework itself refuses two things only: an unknown path and a method that the path does not have."""
        if error.status_code == Reason.METHOD_NOT_ALLOWED.status:
            allow = (error.headers or {}).get("Allow", "")
            return problem_response(request, Refusal(Reason.METHOD_NOT_ALLOWED, headers=(("Allow", allow),)))
        return problem_response(request, Refusal(Reason.NO_ROUTE))
