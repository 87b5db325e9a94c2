"""A `User-Agent` as fields of a session's hash, each short enough for the compact form of a hash in Redis.

Redis keeps a hash in its compact form while no value is longer than `hash-max-listpack-value` (64 bytes by default).
One longer value doubles the memory of the hash, and the `User-Agent` of a browser is longer. So the hash has `agent`,
`agent2`, `agent3` and so on. A node of a version without these fields reads and writes `agent` alone: it shows the
beginning, and writes a whole `User-Agent` there.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

MAX_VALUE: Final = 64
"""Bytes of the longest value that leaves a hash compact."""
_MAX_CHARACTER: Final = 4
"""Bytes of the longest character in UTF-8."""


def agent_fields(agent: str) -> dict[str, str]:
    """Names and values of the fields: one at least; only the last one may have room for a further character."""
    parts = [""]
    for character in agent:
        if len((parts[-1] + character).encode()) > MAX_VALUE:
            parts.append("")
        parts[-1] += character
    return {_name_part(number): part for number, part in enumerate(parts, 1)}


def read_agent(values: Mapping[bytes, bytes]) -> str:
    """The agent of a session, from all fields of its hash.

    A part that is not full ends the agent, and so does one that is too long: an older node wrote it, and left the
    further parts of the agent before in place.
    """
    whole = bytearray()
    for number in itertools.count(1):
        part = values.get(_name_part(number).encode())
        if part is None:
            break
        whole += part
        if not MAX_VALUE - _MAX_CHARACTER < len(part) <= MAX_VALUE:
            break
    return whole.decode()


def _name_part(number: int) -> str:
    return "agent" if number == 1 else f"agent{number}"
