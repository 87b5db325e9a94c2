"""Keyset pagination: pages that stay right while rows come and go, at the same cost however deep."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from lockgate_shop.kit.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
MAX_CURSOR: Final = 1024
BAD_CURSOR: Final = Problem(400, "invalid_cursor", "The cursor is not one that this list gave out")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, and the cursor that continues after them; None at its end."""

    items: Sequence[T]
    next: str | None


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], tuple[str, str]]) -> Page[T]:
    """The page out of up to `limit` + 1 rows: the one too many only tells that there is more.

    Args:
        rows: in the order of the list.
        limit: the most rows of a page.
        key: what the list is ordered by, as two texts, of which the second is unique.
    """
    items = rows[:limit]
    return Page(items, write_cursor(key(items[-1])) if len(rows) > limit else None)


def write_cursor(key: tuple[str, str]) -> str:
    """A position in a list as an opaque text; `read_cursor` is the inverse."""
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).rstrip(b"=").decode()


def read_cursor(cursor: str) -> tuple[str, str] | Problem:
    """The position that a client sent back, with no promise that it was ever given out."""
    if len(cursor) > MAX_CURSOR:
        return BAD_CURSOR
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return BAD_CURSOR
    if not isinstance(key, list) or [type(part) for part in key] != [str, str]:
        return BAD_CURSOR
    # What PostgreSQL could not even compare with.
    if any("\0" in part or not part.isprintable() for part in key):
        return BAD_CURSOR
    return key[0], key[1]
