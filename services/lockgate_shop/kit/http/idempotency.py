"""`Idempotency-Key`: how a client says that two requests are one (draft-ietf-httpapi-idempotency-key-header-07)."""

import hashlib
import json
import re
from typing import Annotated, Final

from fastapi import Depends, Header

from lockgate_shop.kit.http.problems import refuse_request
from lockgate_shop.kit.problem import Problem

MAX_KEY: Final = 200
"""Characters."""
BAD_KEY: Final = Problem(400, "invalid_idempotency_key", "The Idempotency-Key is not one that can be used")
KEY_REUSED: Final = Problem(422, "idempotency_key_reused", "This Idempotency-Key came with another request before")
KEY_IN_FLIGHT: Final = Problem(409, "idempotency_key_in_flight", "A request with this Idempotency-Key is under way")

_STRING: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,400})"')
_BARE: Final = re.compile(r"[A-Za-z0-9_.:~-]+")


def read_key(value: str) -> str | None:
    """The key in a field value; None when it holds none that can be used.

    Args:
        value: an RFC 9651 String, as the draft wants it, or the same characters without quotes where that leaves no
            doubt (a UUID, say): many clients send it so.
    """
    value = value.strip(" ")
    quoted = _STRING.fullmatch(value)
    if quoted:
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _BARE.fullmatch(value):
        key = value
    else:
        return None
    return key if len(key) <= MAX_KEY else None


async def idempotency_key(values: Annotated[list[str] | None, Header(alias="Idempotency-Key")] = None) -> str | None:
    """The key of a request; None when it has none.

    Raises:
        RefusedError: it comes twice, or is none that can be used.
    """
    if not values:
        return None
    key = read_key(values[0]) if len(values) == 1 else None
    if key is None:
        refuse_request(BAD_KEY)
    return key


IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]


def body_fingerprint(body: object) -> str:
    """What tells one request from another: a digest of its body that ignores the order and spacing of members."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
