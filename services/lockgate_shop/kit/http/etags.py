"""Validators of responses, so that a client's current copy is not sent again (RFC 9110 section 8.8.3 and 13.1.2)."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Header
from starlette.responses import Response

IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match")]
"""Where the field comes in several lines, the first: at worst a response is sent that the client has."""

_TAG: Final = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]{0,200}")')
_MAX_TAGS: Final = 50

NOT_MODIFIED: Final[dict[int | str, dict[str, object]]] = {304: {"description": "The client has this already"}}


def validated_response(body: bytes, if_none_match: str | None) -> Response:
    """A JSON response that a client may store and must revalidate; or 304 where the client has this one.

    Args:
        body: the JSON text.
        if_none_match: the field value as received; None where the request has none.
    """
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if _matches_tag(tag, if_none_match or ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _matches_tag(tag: str, given: str) -> bool:
    """The weak comparison of RFC 9110 section 8.8.3.2; a field that cannot be read matches nothing."""
    if given.strip() == "*":
        return True
    return any(found[1] == tag for _, found in zip(range(_MAX_TAGS), _TAG.finditer(given), strict=False))
