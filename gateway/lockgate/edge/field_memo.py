"""Remembers field blocks that were examined, without the lines that are new in each request.

A trusted proxy writes another request id, trace and address into each request, and each browser has its own cookie. The
values of such lines are cut out, and a block is remembered by the pieces between them. A value is cut out where it is
visible ASCII and spaces in one whole line, so it decides nothing about other lines. It gets its place in the facts of
its own request. The readers of request id, trace, address and cookie then read it there, as in an unknown block.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final, NamedTuple

from lockgate.edge.cookies import split_own_cookies
from lockgate.edge.headers import HeaderFacts
from lockgate.edge.wire import Field

MEMO_BYTES: Final = 8 * 1024 * 1024
"""Bytes that the memo may take, by a rough count."""
MEMO_BLOCK_BYTES: Final = 4096
_FIELD_COST: Final = 160
"""Bytes that a parsed field takes beyond its own, roughly."""
_COOKIE: Final = b"cookie"
# The spellings that browsers, nginx, HAProxy, Envoy and Caddy send. A line in another spelling is examined each time.
_SPELLINGS: Final = (
    *(b"Cookie", b"cookie", b"Forwarded", b"forwarded", b"X-Forwarded-For", b"x-forwarded-for"),
    *(b"X-Real-IP", b"X-Real-Ip", b"x-real-ip", b"x-envoy-external-address"),
    *(b"X-Request-ID", b"X-Request-Id", b"x-request-id", b"Traceparent", b"traceparent", b"Tracestate", b"tracestate"),
)
VARYING: Final = frozenset(name.lower() for name in _SPELLINGS)
"""The fields that are new in each request. No service sees any of them as the client sent it, except Cookie."""
_CUT: Final = re.compile(rb"(\r\n(?:" + b"|".join(_SPELLINGS) + rb"): )([!-~][ -~]*+(?<! ))(?=\r\n)")

_Key = bytes | tuple[bytes, ...]


class _Remembered(NamedTuple):
    """A block that was examined.

    Attributes:
        facts: its facts, without the values that were cut out, and without `forwardable` where one of them is a cookie.
        places: the indexes of these values in `facts.fields`.
        cookie: the index of the cookie among these values; -1 without a cookie.
        before: the forwardable lines before the cookie.
        after: the forwardable lines after the cookie.
    """

    facts: HeaderFacts
    places: tuple[int, ...] = ()
    cookie: int = -1
    before: str = ""
    after: str = ""

    def with_values(self, values: list[bytes]) -> HeaderFacts:
        """The facts of a block that differs in the values that are cut out."""
        fields = list(self.facts.fields)
        for place, value in zip(self.places, values, strict=True):
            fields[place] = (fields[place][0], value)
        if self.cookie < 0:
            return self.facts._replace(fields=tuple(fields))
        own, others = split_own_cookies(values[self.cookie])
        line = f"cookie: {others.decode('latin-1')}\r\n" if others or not own else ""
        forwardable = self.before + line + self.after
        return self.facts._replace(fields=tuple(fields), session_cookies=tuple(own), forwardable=forwardable)


class FieldMemo:
    """The facts of field blocks by their bytes, within a bound of memory; the oldest block goes first.

    Args:
        field_bytes: the most bytes of a line.
    """

    def __init__(self, field_bytes: int) -> None:
        self._known: OrderedDict[_Key, _Remembered] = OrderedDict()
        self._bytes = 0
        # No line of a block is longer than the block, so a value that was cut out needs no bound of its own.
        self._cut_bytes = min(MEMO_BLOCK_BYTES, field_bytes)

    def find_facts(self, block: bytes) -> HeaderFacts | None:
        """The facts of a block; `None` where no block like it was remembered.

        Args:
            block: complete lines, each with CRLF before it, and CRLF after the last one.
        """
        known = self._known.get(block)
        if known is not None:
            return known.facts
        if len(block) > self._cut_bytes:
            return None
        pieces, values = _cut_values(block)
        known = self._known.get(pieces)
        return None if known is None else known.with_values(values)

    def remember_facts(self, block: bytes, facts: HeaderFacts) -> None:
        """Remember a block, if it can be remembered without any value of a varying field.

        Args:
            block: as for `find_facts`, where nothing was found.
            facts: its facts, which depend on nothing else.
        """
        varying = [(place, field) for place, field in enumerate(facts.fields) if field[0] in VARYING]
        if not varying:
            if len(block) <= MEMO_BLOCK_BYTES:
                self._add(block, len(block), _Remembered(facts))
            return
        if len(block) > self._cut_bytes:
            return
        pieces, values = _cut_values(block)
        names = [piece[2:-2].lower() for piece in pieces[1::2]]
        # A field that was sent twice, or in a line that was not cut, is examined each time.
        if [field for _, field in varying] == list(zip(names, values, strict=True)) and len(set(names)) == len(names):
            places = tuple(place for place, _ in varying)
            self._add(pieces, sum(map(len, pieces)), _without_values(facts, places))

    def _add(self, key: _Key, size: int, found: _Remembered) -> None:
        self._bytes += _cost(size, found)
        while self._bytes > MEMO_BYTES:
            oldest, left = self._known.popitem(last=False)
            self._bytes -= _cost(len(oldest) if isinstance(oldest, bytes) else sum(map(len, oldest)), left)
        self._known[key] = found


def _cut_values(block: bytes) -> tuple[tuple[bytes, ...], list[bytes]]:
    """The pieces of a block around the values of varying fields, every second one a name, and the values.

    Blocks with equal pieces have equal lines but for these values.
    """
    pieces = _CUT.split(block)
    values = pieces[2::3]
    del pieces[2::3]
    return tuple(pieces), values


def _without_values(facts: HeaderFacts, places: tuple[int, ...]) -> _Remembered:
    """What is remembered of a block with varying fields at these places."""
    fields: list[Field] = list(facts.fields)
    cookie, start, end = -1, 0, 0
    for at, place in enumerate(places):
        name = fields[place][0]
        fields[place] = (name, b"")
        if name == _COOKIE:
            cookie = at
            start, end = _find_cookie(facts, place)
    kept = facts._replace(fields=tuple(fields), session_cookies=())
    if cookie < 0:
        return _Remembered(kept, places)
    before, after = facts.forwardable[:start], facts.forwardable[end:]
    return _Remembered(kept._replace(forwardable=""), places, cookie, before, after)


def _find_cookie(facts: HeaderFacts, place: int) -> tuple[int, int]:
    """Where the line of the only cookie stands among the forwardable lines, or would stand if it were forwarded."""
    lines, start = facts.forwardable, 0
    for name, value in facts.fields[:place]:
        line = f"{name.decode('latin-1')}: {value.decode('latin-1')}\r\n"
        start += len(line) if lines.startswith(line, start) else 0
    end = lines.index("\r\n", start) + 2 if lines.startswith("cookie: ", start) else start
    return start, end


def _cost(size: int, found: _Remembered) -> int:
    return 3 * size + _FIELD_COST * len(found.facts.fields)
