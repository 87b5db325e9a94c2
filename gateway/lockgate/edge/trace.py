"""The request id and the trace that a trusted peer gives a request (W3C Trace Context)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from lockgate.edge.headers import HeaderFacts

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Version 00 has exactly these parts. A later version may have more, so the edge starts a new trace for it.
_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_STATE_KEY: Final = rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_STATE_MEMBER: Final = re.compile(_STATE_KEY + rb"=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
MAX_STATE_BYTES: Final = 512
MAX_STATE_MEMBERS: Final = 32


class Trace(NamedTuple):
    """A trace that began before the edge.

    Attributes:
        parent: the value of `traceparent`.
        state: the value of `tracestate`; empty without that field.
    """

    parent: str
    state: str


def kept_request_id(headers: HeaderFacts) -> str | None:
    """A trusted peer's request id; `None` unless there is a single field with a well-formed token."""
    values = headers.values_of(b"x-request-id")
    if len(values) != 1 or _REQUEST_ID.fullmatch(values[0]) is None:
        return None
    return values[0].decode("ascii")


def kept_trace(headers: HeaderFacts) -> Trace | None:
    """A trusted peer's trace; `None` where parent or state is missing or malformed."""
    parents = headers.values_of(b"traceparent")
    if len(parents) != 1 or _TRACEPARENT.fullmatch(parents[0]) is None:
        return None
    state = b",".join(headers.values_of(b"tracestate"))
    members = [member for entry in state.split(b",") if (member := entry.strip(b" \t"))]
    well_formed = len(members) <= MAX_STATE_MEMBERS and all(_STATE_MEMBER.fullmatch(member) for member in members)
    if len(state) > MAX_STATE_BYTES or not well_formed:
        return None
    return Trace(parents[0].decode("ascii"), b",".join(members).decode("ascii"))
