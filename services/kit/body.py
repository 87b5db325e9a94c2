"""The gate for request bodies: bounded, JSON, and only JSON that every reader understands the same way."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from services.kit.problems import BODY_TOO_LARGE, UNREADABLE_BODY, UNSUPPORTED_MEDIA, RefusedError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY: Final = 64 * 1024
"""Bytes; also the size up to which the gateway signs a body's digest."""
MAX_DEPTH: Final = 32
MAX_DIGITS: Final = 20
"""Longer integers mean different numbers to different readers."""
_UNSTORABLE: Final = re.compile("[\\0\\ud800-\\udfff]")


class BodyGate:
    """ASGI middleware: what is behind it sees no body, or one whole body of strict JSON.

    Refused are, with the problem answers 413, 415 and 400: more than `MAX_BODY` bytes; another content type or a
    content coding; and what `strict_json` refuses.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request's body before the app sees it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        if body:
            _check(scope, body)
        await self._app(scope, _replay(body, receive), send)


async def _read(receive: Receive) -> bytes | None:
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


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _check(scope: Scope, body: bytes) -> None:
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    coded = any(name == b"content-encoding" for name, _ in scope["headers"])
    if len(kinds) != 1 or coded or not _is_json(kinds[0]):
        raise RefusedError(UNSUPPORTED_MEDIA)
    problem = strict_json(body)
    if problem:
        raise RefusedError(UNREADABLE_BODY, note=problem)


def _is_json(content_type: bytes) -> bool:
    kind, _, parameters = content_type.lower().partition(b";")
    return kind.strip() == b"application/json" and parameters.replace(b'"', b"").strip() in {b"", b"charset=utf-8"}


def strict_json(body: bytes) -> str | None:
    """What is wrong with a JSON text, in words that hold nothing of it; None when nothing is.

    Stricter than RFC 8259 asks: UTF-8 without a byte order mark, no repeated member names, no NaN or infinity, no
    lone surrogates, no U+0000 (PostgreSQL stores none), bounded depth and digits.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_members,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except _NotStrictError as error:
        return str(error)
    except (ValueError, RecursionError):
        return "not JSON in UTF-8"
    return _walk(value)


class _NotStrictError(ValueError):
    """The text is JSON, but not everyone would read it the same way."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotStrictError("repeated member name")
    return members


def _constant(_: str) -> float:
    raise _NotStrictError("not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _NotStrictError("number out of bounds")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _NotStrictError("number out of bounds")
    return number


def _walk(value: object) -> str | None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, str):
                if _UNSTORABLE.search(item):
                    return "text that cannot be stored"
            elif isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return None
        level = below
    return "nested too deeply"
