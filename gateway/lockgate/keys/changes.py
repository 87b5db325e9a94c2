"""What has become of keys, for the audit trail: who each key is and what it does now, never what is secret about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lockgate.keys.states import Entry, State
from lockgate.observe.audit import Audit, Event

_REACHED: Final = {
    State.NEXT: Event.KEY_PUBLISHED,
    State.ACTIVE: Event.KEY_ACTIVATED,
    State.PASSIVE: Event.KEY_PASSIVE,
}


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One key has another state, or is gone.

    Attributes:
        event: which.
        group: what the key is for: `signing`, `refresh`, or `origin -> target` of a link.
        alg: of a signing key; the others are secrets for HMAC-SHA256.
    """

    event: Event
    group: str
    kid: str
    alg: str

    def record(self, audit: Audit, **facts: str | None) -> None:
        """Put it into the audit trail, with what is known of who did it."""
        audit.record(self.event, group=self.group, kid=self.kid, alg=self.alg, **facts)


def changes(
    group: str, before: Sequence[Entry], after: Sequence[Entry], removed: str | None = None
) -> Iterator[KeyChange]:
    """What is different about the keys of a group, the new ones first.

    Args:
        group: its name.
        before: its keys.
        after: its keys.
        removed: the one that goes before its time, if any; each other one that is missing has served it.
    """
    states = {entry.key_id: entry.state for entry in before}
    for entry in after:
        if states.pop(entry.key_id, None) is not entry.state:
            yield _change(_REACHED[entry.state], group, entry)
    for entry in before:
        if entry.key_id in states:
            event = Event.KEY_REMOVED if entry.key_id == removed else Event.KEY_RETIRED
            yield _change(event, group, entry)


def _change(event: Event, group: str, entry: Entry) -> KeyChange:
    return KeyChange(event, group, entry.key_id, entry.members.get("alg", "HMAC"))
