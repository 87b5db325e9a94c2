"""Problem documents (RFC 9457): their members, their description, and what is told of faulty fields.

A document holds nothing that the client sent: names of fields are those of the schema, and rules are ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

Place: TypeAlias = Sequence[str | int]
"""The names and indexes that lead to a field."""

PROBLEM_TYPE: Final = "application/problem+json"
NO_STORE: Final = {"Cache-Control": "no-store"}
EXTRA: Final = "extra_forbidden"
"""Pydantic's rule for a field that the schema lacks."""
MAX_FIELDS: Final = 20
"""How many faulty fields a document names; a body can have thousands."""
_COMPACT: Final = json.JSONEncoder(separators=(",", ":"))
"""Made once: `json.dumps` makes an encoder for each call that asks for these separators."""


def problem_document(  # noqa: PLR0913 - the members of a document, by name
    *,
    status: int,
    title: str,
    detail: str,
    code: str,
    request_id: str | None,
    more: Mapping[str, object],
) -> dict[str, Any]:
    """The members of a problem document.

    Args:
        status: of the response.
        title: the same for every problem of its kind.
        detail: one sentence for a person.
        code: the stable word for programs.
        request_id: to find the request in the logs; `None` where the request has none that can be believed.
        more: extension members; the standard ones win.
    """
    return {
        **more,
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


def as_json(document: Mapping[str, Any]) -> bytes:
    """A document as it is sent: ASCII, without spaces."""
    return _COMPACT.encode(document).encode("ascii")


def faulty_fields(
    errors: Iterable[tuple[Place, str]], known_at: Callable[[Place], Sequence[str]] | None = None
) -> list[dict[str, Any]]:
    """The member `errors`: each fault once, and at most `MAX_FIELDS`.

    Args:
        errors: where each fault is, beginning with `body`, `query` or `path`; and the rule that was broken. A rule
            `extra_forbidden` is told of the parent, because the name of a field that the schema lacks is the client's.
        known_at: returns the names that the schema has at such a parent, for the client to compare with its own.
    """
    found: dict[tuple[str, str], Place] = {}
    for place, rule in errors:
        at = place[:-1] if rule == EXTRA else place
        found.setdefault((".".join(str(part) for part in at if part != ""), rule), at)
    faults: list[dict[str, Any]] = [{"field": field, "rule": rule} for field, rule in islice(found, MAX_FIELDS)]
    for fault, at in zip(faults, found.values(), strict=False):
        if fault["rule"] == EXTRA and known_at is not None:
            fault["known"] = list(known_at(at))
    return faults


def problem_schema(*, required: Sequence[str], request_id: object) -> dict[str, Any]:
    """The schema of a document, for a description in OpenAPI.

    Args:
        required: members that every document has.
        request_id: the JSON type, or types, of that member.
    """
    text = {"type": "string"}
    texts = {"type": "array", "items": text}
    told = {"field": text, "rule": text, "known": texts, "position": {"type": "integer"}}
    fault = {"type": "object", "required": ["field", "rule"], "properties": told}
    properties = {
        "type": text,
        "title": text,
        "status": {"type": "integer"},
        "detail": text,
        "code": text,
        "request_id": {"type": request_id},
        "errors": {"type": "array", "items": fault},
        "accepted": texts,
    }
    return {"type": "object", "required": list(required), "properties": properties}
