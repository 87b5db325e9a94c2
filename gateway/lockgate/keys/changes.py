"""Changes of keys as audit events: the id of each key and its new state, never its secret.

Every worker of every node sees a change within a second, so the reload of a worker would write each change as many
times as there are workers. It would also see the outcome only: neither the actor, nor whether a key has served its
time or was removed in an emergency. So `KeyStore`, the only code that changes keys, makes the events: once a file is
on disk it compares the keys before and after. The caller hands them to the audit trail: a command (`cli:<user>`), an
administrator's call (their `sub`), or the rotation by age (`rotation`).

- A command that changes keys does not need Redis: an emergency removal must not wait for a store that is away. The
  line goes to standard error in any case. Where the stream could not be written within half a second, or no
  `redis_url` is set, the command says so and ends with 0, because it has done what it was asked for.
- Workers log the keys that they load, and audit only what is theirs alone: `keys.refused`, a folder that a worker did
  not take, once for each fault. The event names the worker (`host:pid`), because each worker keeps last good keys of
  its own, and nodes may hold copies of the folder of which one is bad.
- A file that is edited by hand, or copied to a node by other means, is in the workers' logs and not in the trail. So
  is the change of a process that is killed in the few milliseconds between writing the file and writing the event. In
  `compose.yaml` the container that makes keys has no network, so its changes are in its output alone.
"""

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
        """Put it into the audit trail, with what is known of the actor."""
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
            yield _change_of(_REACHED[entry.state], group, entry)
    for entry in before:
        if entry.key_id in states:
            event = Event.KEY_REMOVED if entry.key_id == removed else Event.KEY_RETIRED
            yield _change_of(event, group, entry)


def _change_of(event: Event, group: str, entry: Entry) -> KeyChange:
    return KeyChange(event, group, entry.key_id, entry.members.get("alg", "HMAC"))
