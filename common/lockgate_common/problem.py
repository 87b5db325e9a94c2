"""Problem documents (RFC 9457): their members, their description, and what is told of faulty fields.

A document holds nothing that the client sent: names of fields are those of the schema, and rules are ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

PROBLEM_TYPE: Final = "application/problem+json"
NO_STORE: Final = {"Cache-Control": "no-store"}
MAX_FIELDS: Final = 20
"""How many faulty fields a document names; a body can have thousands."""


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
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def faulty_fields(errors: Iterable[tuple[Sequence[str | int], str]]) -> list[dict[str, str]]:
    """The member `errors`: each fault once, and at most `MAX_FIELDS`.

    Args:
        errors: where each fault is, beginning with `body`, `query` or `path`; and the rule that was broken. A rule
            `extra_forbidden` is told of the parent, because the name of a field that the schema lacks is the client's.
    """
    found: dict[tuple[str, str], None] = {}
    for place, rule in errors:
        known = place[:-1] if rule == "extra_forbidden" else place
        found[".".join(str(part) for part in known if part != ""), rule] = None
    return [{"field": field, "rule": rule} for field, rule in islice(found, MAX_FIELDS)]


def problem_schema(*, required: Sequence[str], request_id: object) -> dict[str, Any]:
    """The schema of a document, for a description in OpenAPI.

    Args:
        required: members that every document has.
        request_id: the JSON type, or types, of that member.
    """
    text = {"type": "string"}
    fault = {"type": "object", "required": ["field", "rule"], "properties": {"field": text, "rule": text}}
    properties = {
        "type": text,
        "title": text,
        "status": {"type": "integer"},
        "detail": text,
        "code": text,
        "request_id": {"type": request_id},
        "errors": {"type": "array", "items": fault},
        "accepted": {"type": "array", "items": text},
    }
    return {"type": "object", "required": list(required), "properties": properties}
