"""The gate for request bodies: bounded, JSON, and only JSON that every reader understands the same way."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from lockgate_shop.kit.http.problems import RefusedError
from lockgate_shop.kit.problem import (
    BODY_TOO_LARGE,
    UNREADABLE_BODY,
    UNSUPPORTED_CHARSET,
    UNSUPPORTED_CODING,
    UNSUPPORTED_MEDIA,
    Problem,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON: Final = "application/json"
PARSED_BODY: Final = "lockgate.body"
"""Where the value of a body stands in the scope; absent without a body."""
MAX_BODY: Final = 64 * 1024
"""Bytes; also the size up to which the gateway signs a body's digest."""
MAX_DEPTH: Final = 32
MAX_DIGITS: Final = 20
"""Longer integers mean different numbers to different readers."""
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(
    rf"[ \t]*;[ \t]*(?:(?P<name>{_WORD})=(?:(?P<token>{_WORD})|\"(?P<quoted>(?:[^\"\\]|\\.)*)\"))?"
)
_UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii"})
"""Labels of UTF-8, the second one of the WHATWG's, and of a part of it; without case."""
_UNSTORABLE: Final = re.compile("[\\0\\ud800-\\udfff]")


class BodyGate:
    """ASGI middleware: what is behind it sees no body, or one whole body of strict JSON.

    The value of the JSON stands in the scope under `PARSED_BODY`. Refused are, with the problem answers 413, 415 and
    400: more than `MAX_BODY` bytes; another content type or a content coding; and what `parse_strict_json` refuses.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request's body before the app sees it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive)
        if body is None:
            return
        if body:
            _check_body(scope, body)
        await self._app(scope, _replay_body(body, receive), send)


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None when the client left before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise RefusedError(BODY_TOO_LARGE)
        if not message.get("more_body", False):
            return bytes(body)


def _replay_body(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_replayed() -> Message:
        return pending.pop() if pending else await receive()

    return receive_replayed


def _check_body(scope: Scope, body: bytes) -> None:
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    kind, is_utf8 = _media_type(kinds[0].decode("latin-1") if len(kinds) == 1 else "")
    if kind != JSON:
        raise _media_refusal(UNSUPPORTED_MEDIA)
    if not is_utf8:
        raise _media_refusal(UNSUPPORTED_CHARSET)
    if any(name == b"content-encoding" for name, _ in scope["headers"]):
        raise _media_refusal(UNSUPPORTED_CODING, {"Accept-Encoding": "identity"})
    try:
        scope[PARSED_BODY] = parse_strict_json(body)
    except NotStrictError as error:
        raise RefusedError(UNREADABLE_BODY, note=str(error)) from None


def _media_refusal(problem: Problem, fields: Mapping[str, str] | None = None) -> RefusedError:
    """The refusal of a body's form, which says what would be right (RFC 9110 sections 12.5.3 and 15.5.16)."""
    return RefusedError(problem, headers={"Accept": JSON, **(fields or {})}, members={"accepted": [JSON]})


def _media_type(field: str) -> tuple[str, bool]:
    """The media type of a Content-Type in lower case, and whether its text is UTF-8 (RFC 9110 section 8.3).

    Parameters that do not matter are ignored. Text of two charsets, or with malformed parameters, is not UTF-8.
    """
    kind, semicolon, rest = field.strip(" \t").partition(";")
    charsets: list[str] = []
    place, parameters = 0, semicolon + rest
    while place < len(parameters):
        match = _PARAMETER.match(parameters, place)
        if match is None:
            return kind.strip(" \t").lower(), False
        place = match.end()
        # `charset*` is the same name with a charset of its own for the value (RFC 8187).
        if match["name"] is not None and match["name"].lower() in {"charset", "charset*"}:
            quoted = match["quoted"]
            charsets.append(match["token"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
    is_utf8 = not charsets or (len(charsets) == 1 and charsets[0].lower() in _UTF_8)
    return kind.strip(" \t").lower(), is_utf8


class NotStrictError(ValueError):
    """The text is not JSON, or JSON that parsers may read differently; says why in words that hold nothing of it."""


def parse_strict_json(body: bytes) -> object:
    """The value of a JSON text.

    Stricter than RFC 8259 asks: UTF-8 without a byte order mark, no repeated member names, no NaN or infinity, no
    lone surrogates, no U+0000 (PostgreSQL stores none), bounded depth and digits.

    Raises:
        NotStrictError: something is wrong with the text.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except NotStrictError:
        raise
    except (ValueError, RecursionError):
        raise NotStrictError("not JSON in UTF-8") from None
    _check_values(value)
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrictError("repeated member name")
    return members


def _refuse_constant(_: str) -> float:
    raise NotStrictError("not a JSON number")


def _bounded_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise NotStrictError("number out of bounds")
    return int(digits)


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotStrictError("number out of bounds")
    return number


def _check_values(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, str):
                if _UNSTORABLE.search(item):
                    raise NotStrictError("text that cannot be stored")
            elif isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    raise NotStrictError("nested too deeply")


# Made once: `json.loads` makes one for each text.
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_members,
    parse_constant=_refuse_constant,
    parse_int=_bounded_integer,
    parse_float=_finite_float,
)
