"""Refusals and their answers: `application/problem+json` (RFC 9457), which never holds what the client sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from starlette.responses import Response

from lockgate_common.problem import (
    NO_STORE,
    PROBLEM_TYPE,
    as_json,
    faulty_fields,
    problem_document,
    problem_schema,
)
from lockgate_shop.kit.problem import METHOD_NOT_ALLOWED, NOT_FOUND, UNREADABLE_BODY, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RETRY_AFTER_S: Final = 2
"""What a client is told to wait when something is away; long enough for a restart, short enough for a person."""


_SCHEMA: Final = problem_schema(
    required=("type", "title", "status", "detail", "code", "request_id"), request_id=["string", "null"]
)

ANY_PROBLEM: Final[dict[int | str, dict[str, Any]]] = {
    "default": {"description": "A problem", "content": {PROBLEM_TYPE: {"schema": _SCHEMA}}}
}
"""Documents what any route may answer; and keeps the framework from promising a 422 that never comes."""

BY_STATUS: Final = {problem.status: problem for problem in (UNREADABLE_BODY, NOT_FOUND, METHOD_NOT_ALLOWED)}
"""Our answer for what the framework refuses by itself."""


class RefusedError(Exception):
    """Carries a refusal from an endpoint or a dependency to the one handler that answers it.

    Attributes:
        problem: why.
        headers: fields the answer needs beyond the usual ones.
        members: extension members of the problem answer; never anything the client sent.
        note: for the log only. Holds no token, key or password.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
        note: str = "",
    ) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.headers = dict(headers or {})
        self.members = dict(members or {})
        self.note = note


T = TypeVar("T")


def require_granted(outcome: T | Problem) -> T:
    """The outcome of a rule, unless it was a refusal.

    Raises:
        RefusedError: the rule refused.
    """
    if isinstance(outcome, Problem):
        refuse_request(outcome)
    return outcome


def refuse_request(problem: Problem) -> NoReturn:
    """End the request with a refusal; those that mean "not now" say when to come back.

    Raises:
        RefusedError: always.
    """
    headers = {"Retry-After": str(RETRY_AFTER_S)} if problem.status == 503 else None  # noqa: PLR2004 - a status code
    raise RefusedError(problem, headers=headers)


def problem_response(
    problem: Problem,
    *,
    request_id: str | None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> Response:
    """The answer a client gets.

    Args:
        problem: why the request is refused.
        request_id: as the gateway numbered the request; None where the request told none that can be believed.
        headers: more header fields.
        members: more members; the standard ones win.
    """
    body = problem_document(
        status=problem.status,
        title=problem.title,
        detail=problem.title,
        code=problem.code,
        request_id=request_id,
        more=members or {},
    )
    return Response(
        as_json(body),
        status_code=problem.status,
        headers={**NO_STORE, **(headers or {})},
        media_type=PROBLEM_TYPE,
    )


def field_errors(errors: Sequence[Any]) -> list[dict[str, str]]:
    """Pydantic's errors, reduced to where and which rule: `input`, `msg` and `ctx` can hold what the client sent."""
    return faulty_fields((error["loc"], str(error["type"])) for error in errors)


def document_problems(*problems: Problem) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for OpenAPI: these problems, beside the ones that any route may answer."""
    titles: dict[int, list[str]] = {}
    for problem in problems:
        titles.setdefault(problem.status, []).append(f"{problem.title} (`{problem.code}`)")
    return {
        status: {"description": "; ".join(said), "content": {PROBLEM_TYPE: {"schema": _SCHEMA}}}
        for status, said in titles.items()
    }
