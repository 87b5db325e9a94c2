"""JSON as an untrusted peer may send it: UTF-8, one value, no second meaning.

The standard decoder takes the last of duplicate member names, NaN, UTF-16 and integers of any length. Each of those
lets two readers of the same bytes disagree (RFC 8259 sections 4, 6 and 8.1; RFC 7519 section 4).
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

MAX_INTEGER_DIGITS = 20
INVALID: Final = "json_invalid"
NOT_UTF_8: Final = "not_utf8"
REPEATED: Final = "repeated"
NUMBER: Final = "number_out_of_range"
SURROGATE: Final = "lone_surrogate"
TOO_DEEP: Final = "too_deep"


class StrictJsonError(ValueError):
    """The bytes are not one JSON value in the strict reading. Carries nothing of the input.

    Attributes:
        rule: the broken rule, one of the words above.
        position: how many bytes stand before the fault; `None` where the decoder does not tell.
    """

    def __init__(self, rule: str, position: int | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.position = position


def loads(data: bytes, *, max_depth: int) -> Any:  # noqa: ANN401 - JSON is any of seven types until a schema says more
    """Parse one JSON text.

    Args:
        data: UTF-8 without a byte order mark.
        max_depth: how many arrays and objects may nest.

    Raises:
        StrictJsonError: invalid UTF-8, a byte order mark, trailing bytes, a duplicate member name, NaN or Infinity,
            a number out of range, a lone surrogate, or too deep nesting.
    """
    try:
        text = data.decode("utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise StrictJsonError(NOT_UTF_8, error.start) from error
    except json.JSONDecodeError as error:
        raise StrictJsonError(INVALID, len(error.doc[: error.pos].encode())) from error
    except RecursionError as error:
        raise StrictJsonError(TOO_DEEP) from error
    # Each level takes a bracket, so most texts cannot be too deep.
    if text.count("{") + text.count("[") > max_depth:
        _refuse_deep_nesting(value, max_depth)
    if "\\u" in text:
        _refuse_lone_surrogates(value)
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise StrictJsonError(REPEATED)
    return members


def _parse_integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS and len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise StrictJsonError(NUMBER)
    return int(digits)


def _parse_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise StrictJsonError(NUMBER)
    return number


def _refuse_constant(_name: str) -> None:
    """Refuse NaN and Infinity, which are not JSON."""
    raise StrictJsonError(INVALID)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_members,
    parse_int=_parse_integer,
    parse_float=_parse_float,
    parse_constant=_refuse_constant,
)


def _refuse_lone_surrogates(value: Any) -> None:  # noqa: ANN401 - any JSON value
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise StrictJsonError(SURROGATE) from error


def _refuse_deep_nesting(value: Any, max_depth: int) -> None:  # noqa: ANN401 - any JSON value
    level = [value]
    for _ in range(max_depth + 1):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise StrictJsonError(TOO_DEEP)
