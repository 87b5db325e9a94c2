"""What is refused as JSON is told by a rule and a place, in words that hold nothing of the text."""

from __future__ import annotations

import pytest

from lockgate.codec import strict_json
from lockgate.codec.strict_json import StrictJsonError

DEPTH = 4


@pytest.mark.parametrize(
    ("data", "rule", "position"),
    [
        (b"", "json_invalid", 0),
        (b'{"a":1', "json_invalid", 6),
        (b'{"a":1}{}', "json_invalid", 7),
        (b"{'a':1}", "json_invalid", 1),
        ('{"ä":1 x'.encode(), "json_invalid", 8),
        (b'{"a":"\xff"}', "not_utf8", 6),
        ("\ufeff{}".encode(), "json_invalid", 0),
        ("{}".encode("utf-16"), "not_utf8", 0),
        (b'{"a":NaN}', "json_invalid", None),
        (b'{"a":-Infinity}', "json_invalid", None),
        (b'{"a":1,"\\u0061":2}', "repeated", None),
        (b'{"a":1e999}', "number_out_of_range", None),
        (b"9" * 21, "number_out_of_range", None),
        (b'["\\ud800"]', "lone_surrogate", None),
        (b"[[[[[0]]]]]", "too_deep", None),
        (b"[" * 100_000, "too_deep", None),
    ],
)
def test_a_fault_is_told_by_its_rule_and_by_the_bytes_before_it(data: bytes, rule: str, position: int | None) -> None:
    """R-128."""
    with pytest.raises(StrictJsonError) as caught:
        strict_json.loads(data, max_depth=DEPTH)
    assert (caught.value.rule, caught.value.position, str(caught.value)) == (rule, position, rule)


def test_what_nests_as_deep_as_may_be_is_read() -> None:
    assert strict_json.loads(b'[[{"a":[]}]]', max_depth=DEPTH) == [[{"a": []}]]
