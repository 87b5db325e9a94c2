"""A problem document has the standard's members, and nothing that a client sent."""

from __future__ import annotations

import json

from lockgate_common.problem import MAX_FIELDS, as_json, faulty_fields, problem_document, problem_schema


def test_the_standard_members_win_over_extensions() -> None:
    document = problem_document(
        status=404,
        title="Not Found",
        detail="Nothing is here",
        code="not_found",
        request_id=None,
        more={"status": 200, "x": 1},
    )
    assert json.loads(as_json(document)) == {
        "x": 1,
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Nothing is here",
        "code": "not_found",
        "request_id": None,
    }


def test_a_field_that_the_schema_lacks_is_told_of_its_parent_once() -> None:
    errors = [(("body", "items", 0, name), "extra_forbidden") for name in ("secret", "other")]
    assert faulty_fields([*errors, (("body", ""), "missing")]) == [
        {"field": "body.items.0", "rule": "extra_forbidden"},
        {"field": "body", "rule": "missing"},
    ]


def test_what_the_schema_has_there_is_told_with_it() -> None:
    errors = [(("body", "items", 0, "secret"), "extra_forbidden"), (("body", "name"), "missing")]
    assert faulty_fields(errors, lambda place: [*map(str, place), "name"]) == [
        {"field": "body.items.0", "rule": "extra_forbidden", "known": ["body", "items", "0", "name"]},
        {"field": "body.name", "rule": "missing"},
    ]


def test_so_many_faults_are_told_and_no_more() -> None:
    assert len(faulty_fields((("body", number), "missing") for number in range(MAX_FIELDS + 1))) == MAX_FIELDS


def test_the_description_has_every_member_of_a_document() -> None:
    document = problem_document(status=400, title="", detail="", code="", request_id="", more={"errors": []})
    schema = problem_schema(required=list(document), request_id="string")
    assert document.keys() <= schema["properties"].keys()
    assert schema["required"] == list(document)
