"""The states of a key, and how a rotation takes keys through them: pure rules, the same for every kind of key.

    next      known to every verifier, does not sign yet
    active    signs; exactly one
    passive   signs no more, still verifies what it has signed
    removed   is not in the file any more: verifies nothing, and its private key is deleted

A key signs only after every verifier has had the time to learn of it, and goes only when nothing that it signed is
alive. This holds for refresh secrets, too: a node that used a new secret first would hand out tokens that the other
nodes take for forged, and log users out. The kinds differ in two times and, for links, in the number of keys that fit
into a file, so that one rotation of a link takes three commands instead of two.

    kind             passive for at least
    signing key      access life + 3 leeways + publish delay
    refresh secret   absolute session life + 3 leeways + publish delay
    link key         life of a signature (10 s) + 3 leeways + publish delay

The publish delay counts because a node that has not read the last change yet still signs with the old key. The three
leeways are those of docs/decisions/0125: the signer is ahead, the verifier is behind, and so may the clock be that
made the key passive.

Each entry carries `state` and `since`. Of refresh secrets and link keys the first one in the file signs, so the
commands write the active key first, and a file that was written by hand needs neither member. An entry without a time
counts as no younger than its file's modification time, so nothing is activated or ended too early.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What a key that is listed may be. All of them verify."""

    NEXT = "next"
    ACTIVE = "active"
    PASSIVE = "passive"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key in a file.

    Attributes:
        key_id: unique within its file.
        since: when it took its state, Unix seconds.
        members: what else stands in the file: `alg`, or `secret`.
    """

    key_id: str
    state: State
    since: float
    members: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the states last, at least.

    Attributes:
        publish_s: *next*; by then each verifier has read the file, or fetched the key set, again.
        keep_s: *passive*; by then nothing that the key has signed is alive.
        most: how many keys a file may hold; `None` where any number may be passive.
    """

    publish_s: float
    keep_s: float
    most: int | None = None


class StepKind(StrEnum):
    """What a call to `rotate` came to."""

    PUBLISHED = "published"
    ACTIVATED = "activated"
    RETIRED = "retired"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class RotationStep:
    """One step of a rotation.

    Attributes:
        entries: the keys after it, the active one first.
        did: which step it was.
        key_id: of the key it was about.
        next_at: from when on the next step of this rotation may be made, Unix seconds; `None` where it is complete.
    """

    entries: tuple[Entry, ...]
    did: StepKind
    key_id: str
    next_at: float | None


def active(entries: Sequence[Entry]) -> Entry:
    """The key that signs; `check` and every reader have seen that there is one."""
    return next(entry for entry in entries if entry.state is State.ACTIVE)


def rotate(
    entries: Sequence[Entry], timing: Timing, now: float, make: Callable[[], Entry], *, at_once: bool = False
) -> RotationStep:
    """Make the next step: publish a key, activate the one that was published, or wait until that may be done.

    Where only so many keys fit, a passive one has to go before another is published.

    Args:
        entries: the keys as they are.
        timing: how long states last.
        now: Unix seconds.
        make: a fresh *next* key.
        at_once: do not wait until all verifiers know the new key: for emergencies.
    """
    waiting = _newest_of(entries, State.NEXT)
    if waiting is not None:
        ripe_at = waiting.since + timing.publish_s
        if now >= ripe_at or at_once:
            return _activate_next(entries, waiting, timing, now)
        return RotationStep(tuple(entries), StepKind.WAITING, waiting.key_id, ripe_at)
    if timing.most is not None and len(entries) >= timing.most:
        left = retire(entries, timing, now)
        oldest = min((entry for entry in entries if entry.state is State.PASSIVE), key=lambda entry: entry.since)
        if len(left) == len(entries):
            return RotationStep(tuple(entries), StepKind.WAITING, oldest.key_id, oldest.since + timing.keep_s)
        return RotationStep(left, StepKind.RETIRED, oldest.key_id, None)
    made = make()
    if at_once:
        return _activate_next([*entries, made], made, timing, now)
    return RotationStep(ordered([*entries, made]), StepKind.PUBLISHED, made.key_id, made.since + timing.publish_s)


def retire(entries: Sequence[Entry], timing: Timing, now: float) -> tuple[Entry, ...]:
    """The keys without those passive ones that have been so for long enough."""
    return tuple(entry for entry in entries if entry.state is not State.PASSIVE or now < entry.since + timing.keep_s)


def remove(entries: Sequence[Entry], key_id: str, now: float, make: Callable[[], Entry]) -> tuple[Entry, ...]:
    """The keys without one of them, at once. When it was the active one, the next key signs from now on."""
    left = [entry for entry in entries if entry.key_id != key_id]
    if any(entry.state is State.ACTIVE for entry in left):
        return ordered(left)
    follower = _newest_of(left, State.NEXT)
    if follower is None:
        follower = make()
        left.append(follower)
    return ordered([_in_state(entry, State.ACTIVE, now) if entry is follower else entry for entry in left])


def is_due(entries: Sequence[Entry], timing: Timing, now: float, rotate_after_s: float) -> bool:
    """Whether a rotation by age has a step to make: the active key is old, the next one ripe, or a passive one over."""
    waiting = _newest_of(entries, State.NEXT)
    step_at = active(entries).since + rotate_after_s if waiting is None else waiting.since + timing.publish_s
    return now >= step_at or len(retire(entries, timing, now)) < len(entries)


def ordered(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The active key first, because where no state is read the first one signs; then next, then passive, by age."""
    rank = {State.ACTIVE: 0, State.NEXT: 1, State.PASSIVE: 2}
    return tuple(sorted(entries, key=lambda entry: (rank[entry.state], -entry.since)))


def _newest_of(entries: Sequence[Entry], state: State) -> Entry | None:
    return max((entry for entry in entries if entry.state is state), key=lambda entry: entry.since, default=None)


def _activate_next(entries: Sequence[Entry], chosen: Entry, timing: Timing, now: float) -> RotationStep:
    changed = []
    for entry in entries:
        if entry is chosen:
            changed.append(_in_state(entry, State.ACTIVE, now))
        elif entry.state is State.ACTIVE:
            changed.append(_in_state(entry, State.PASSIVE, now))
        else:
            changed.append(entry)
    return RotationStep(ordered(changed), StepKind.ACTIVATED, chosen.key_id, now + timing.keep_s)


def _in_state(entry: Entry, state: State, now: float) -> Entry:
    return dataclasses.replace(entry, state=state, since=now)
