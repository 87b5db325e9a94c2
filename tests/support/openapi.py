"""Requests made up from a server's own description, and the rules for every response to them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from schemathesis import Case, CheckContext, CheckFunction, Response
    from schemathesis.schemas import APIOperation, BaseSchema

ENDLESS: Final = frozenset({"/orders/events"})
"""Paths with an answer that has no end for a client to wait for."""


def described_statuses(anywhere: Collection[int]) -> CheckFunction:
    """The check that a status is one that the operation describes by number.

    Schemathesis' own takes any status where there is a `default`.

    Args:
        anywhere: the statuses that `default` stands for: refusals that any operation may have.
    """

    def status_is_described(_: CheckContext, response: Response, case: Case[Any]) -> None:
        described = {int(status) for status in case.operation.definition.raw["responses"] if status.isdecimal()}
        assert response.status_code in described.union(anywhere), f"{response.status_code} is not described"

    return status_is_described


def checks(anywhere: Collection[int], *more: CheckFunction) -> list[CheckFunction]:
    """No server error, and each response with status, media type, header fields and content as described."""
    return [
        not_a_server_error,
        described_statuses(anywhere),
        content_type_conformance,
        response_schema_conformance,
        response_headers_conformance,
        *more,
    ]


def operations(schema: BaseSchema) -> list[APIOperation[Any, Any, Any, Any]]:
    """All that can be tried out."""
    found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    return [operation for operation in found if operation.path not in ENDLESS]


def try_out(
    tried: Iterable[APIOperation[Any, Any, Any, Any]],
    wanted: Sequence[CheckFunction],
    *,
    examples: int,
    headers: dict[str, str] | None = None,
) -> int:
    """Make up requests for each operation, the same ones in each run, and check the responses.

    Args:
        tried: the operations.
        wanted: the checks of each response.
        examples: how many requests for each operation that keep to the description, and how many that do not.
        headers: to send with each of them.

    Returns:
        How many operations there were.
    """
    bounded = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    count = 0
    for count, operation in enumerate(tried, start=1):  # noqa: B007 - the last one is how many there were
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @bounded
            def ask(case: Case[Any]) -> None:
                case.call_and_validate(checks=list(wanted), headers=headers)

            with contextlib.suppress(Unsatisfiable):  # nothing about it can be wrong
                ask()
    return count
