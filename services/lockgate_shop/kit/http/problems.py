"""Refusals and their answers: `application/problem+json` (RFC 9457), which never holds what the client sent."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from starlette.responses import Response

from lockgate_shop.kit.problem import METHOD_NOT_ALLOWED, NOT_FOUND, UNREADABLE_BODY, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROBLEM_JSON: Final = "application/problem+json"
MAX_ERRORS: Final = 20
RETRY_AFTER_S: Final = 2
"""What a client is told to wait when something is away; long enough for a restart, short enough for a person."""


_SCHEMA: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "rule"],
                "properties": {"field": {"type": "string"}, "rule": {"type": "string"}},
            },
        },
        "accepted": {"type": "array", "items": {"type": "string"}},
    },
}

ANY_PROBLEM: Final[dict[int | str, dict[str, Any]]] = {
    "default": {"description": "A problem", "content": {PROBLEM_JSON: {"schema": _SCHEMA}}}
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


def granted(outcome: T | Problem) -> T:
    """The outcome of a rule, unless it was a refusal.

    Raises:
        RefusedError: the rule refused.
    """
    if isinstance(outcome, Problem):
        refuse(outcome)
    return outcome


def refuse(problem: Problem) -> NoReturn:
    """End the request with a refusal; those that mean "not now" say when to come back.

    Raises:
        RefusedError: always.
    """
    headers = {"Retry-After": str(RETRY_AFTER_S)} if problem.status == 503 else None  # noqa: PLR2004 - a status code
    raise RefusedError(problem, headers=headers)


def problem_answer(
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
    body = {
        **(members or {}),
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.title,
        "code": problem.code,
        "request_id": request_id,
    }
    return Response(
        json.dumps(body, separators=(",", ":")),
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type=PROBLEM_JSON,
    )


def field_errors(errors: Sequence[Any]) -> list[dict[str, str]]:
    """Pydantic's errors, reduced to where and which rule.

    Dropped is all that can hold input: `input`, `msg`, `ctx`, and the name of a field nobody declared. A body can have
    thousands of faults; each is told once, and no more than `MAX_ERRORS`.
    """
    found: dict[tuple[str, str], None] = {}
    for error in errors:
        place = error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]
        found[".".join(str(part) for part in place), str(error["type"])] = None
    return [{"field": field, "rule": rule} for field, rule in islice(found, MAX_ERRORS)]


def documented(*problems: Problem) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for OpenAPI: these problems, beside the ones that any route may answer."""
    titles: dict[int, list[str]] = {}
    for problem in problems:
        titles.setdefault(problem.status, []).append(f"{problem.title} (`{problem.code}`)")
    return {
        status: {"description": "; ".join(said), "content": {PROBLEM_JSON: {"schema": _SCHEMA}}}
        for status, said in titles.items()
    }
