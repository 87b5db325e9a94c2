"""The rules of a rotation, without files: R-162."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.keys import states
from lockgate.keys.states import Entry, State, StepKind, Timing

NOW = 1_800_000_000.0
SIGNING = Timing(publish_s=300, keep_s=600)
LINK = Timing(publish_s=300, keep_s=400, most=2)


def key(name: str, state: State, since: float = NOW) -> Entry:
    return Entry(name, state, since, {})


def fresh(name: str = "new", now: float = NOW) -> Entry:
    return key(name, State.NEXT, now)


def states_of(entries: tuple[Entry, ...]) -> dict[str, str]:
    return {entry.key_id: str(entry.state) for entry in entries}


FIRST: tuple[Entry, ...] = (key("a", State.ACTIVE, NOW - 10_000),)


def test_a_new_key_is_published_before_it_signs() -> None:
    turn = states.rotate(FIRST, SIGNING, NOW, fresh)
    assert (turn.did, turn.key_id, turn.next_at) == (StepKind.PUBLISHED, "new", NOW + 300)
    assert states_of(turn.entries) == {"a": "active", "new": "next"}


@pytest.mark.parametrize("passed", [0, 299.999])
def test_a_published_key_waits_until_everybody_knows_it(passed: float) -> None:
    published = (*FIRST, fresh())
    turn = states.rotate(published, SIGNING, NOW + passed, fresh)
    assert (turn.did, turn.next_at) == (StepKind.WAITING, NOW + 300)
    assert turn.entries == published


def test_after_that_it_signs_and_the_one_before_it_only_verifies() -> None:
    turn = states.rotate((*FIRST, fresh()), SIGNING, NOW + 300, fresh)
    assert (turn.did, turn.key_id, turn.next_at) == (StepKind.ACTIVATED, "new", NOW + 300 + 600)
    assert states_of(turn.entries) == {"new": "active", "a": "passive"}
    assert turn.entries[0].key_id == "new"
    assert {entry.since for entry in turn.entries} == {NOW + 300}


@pytest.mark.parametrize("entries", [FIRST, (*FIRST, fresh("other"))])
def test_in_an_emergency_nobody_waits(entries: tuple[Entry, ...]) -> None:
    turn = states.rotate(entries, SIGNING, NOW, fresh, at_once=True)
    assert turn.did is StepKind.ACTIVATED
    assert states_of(turn.entries)["a"] == "passive"


@pytest.mark.parametrize(("passed", "left"), [(599.999, {"b", "a"}), (600, {"b"})])
def test_a_passive_key_is_kept_until_all_it_has_signed_is_dead(passed: float, left: set[str]) -> None:
    entries = (key("b", State.ACTIVE), key("a", State.PASSIVE))
    assert set(states_of(states.retire(entries, SIGNING, NOW + passed))) == left


def test_an_active_or_published_key_never_gets_too_old_to_keep() -> None:
    entries = (key("a", State.ACTIVE, 0), key("b", State.NEXT, 0))
    assert states.retire(entries, SIGNING, NOW) == entries


def test_a_link_drops_its_old_key_before_it_gets_a_third() -> None:
    full = (key("b", State.ACTIVE), key("a", State.PASSIVE))
    early = states.rotate(full, LINK, NOW + 399, fresh)
    assert (early.did, early.entries, early.next_at) == (StepKind.WAITING, full, NOW + 400)
    late = states.rotate(full, LINK, NOW + 400, fresh)
    assert (late.did, late.key_id, states_of(late.entries)) == (StepKind.RETIRED, "a", {"b": "active"})


def test_when_the_active_key_is_removed_the_next_one_signs() -> None:
    entries = (key("a", State.ACTIVE), key("old", State.PASSIVE), fresh("b"))
    assert states_of(states.remove(entries, "a", NOW, fresh)) == {"b": "active", "old": "passive"}


def test_when_the_active_key_is_removed_and_there_is_no_next_one_a_new_one_signs() -> None:
    # A passive key was made passive for a reason, and may be as old as the one that was lost.
    entries = (key("a", State.ACTIVE), key("old", State.PASSIVE))
    assert states_of(states.remove(entries, "a", NOW, fresh)) == {"new": "active", "old": "passive"}


def test_when_another_key_is_removed_the_active_one_goes_on() -> None:
    entries = (key("a", State.ACTIVE), fresh("b"))
    assert states_of(states.remove(entries, "b", NOW, fresh)) == {"a": "active"}


@pytest.mark.parametrize(
    ("entries", "due"),
    [
        ((key("a", State.ACTIVE, NOW - 999),), False),
        ((key("a", State.ACTIVE, NOW - 1000),), True),
        ((key("a", State.ACTIVE, NOW - 2000), key("b", State.NEXT, NOW - 299)), False),
        ((key("a", State.ACTIVE, NOW - 2000), key("b", State.NEXT, NOW - 300)), True),
        ((key("b", State.ACTIVE), key("a", State.PASSIVE, NOW - 599)), False),
        ((key("b", State.ACTIVE), key("a", State.PASSIVE, NOW - 600)), True),
    ],
)
def test_a_rotation_by_age_knows_when_there_is_something_to_do(entries: tuple[Entry, ...], *, due: bool) -> None:
    assert states.is_due(entries, SIGNING, NOW, rotate_after_s=1000) is due


steps = st.lists(
    st.tuples(st.sampled_from(["rotate", "now", "retire", "remove active", "remove last"]), st.integers(0, 700)),
    max_size=30,
)


@given(steps, st.sampled_from([SIGNING, LINK]))
def test_whatever_is_done_in_whatever_order_one_key_signs_and_none_does_before_its_time(
    steps: list[tuple[str, int]], timing: Timing
) -> None:
    entries, now, names = FIRST, NOW, (f"k{number}" for number in itertools.count())
    for what, passed in steps:
        now += passed
        before, make = entries, lambda now=now: fresh(next(names), now)
        match what:
            case "rotate" | "now":
                entries = states.rotate(entries, timing, now, make, at_once=what == "now").entries
            case "retire":
                entries = states.retire(entries, timing, now)
            case _:
                name = entries[0 if what == "remove active" else -1].key_id
                entries = states.remove(entries, name, now, make)
                assert name not in states_of(entries)
        assert [entry.state for entry in entries].count(State.ACTIVE) == 1
        assert entries[0].state is State.ACTIVE
        assert timing.most is None or len(entries) <= timing.most
        for old in before:
            if what == "rotate" and old.state is State.NEXT and states_of(entries)[old.key_id] == "active":
                assert now >= old.since + timing.publish_s
            if old.key_id not in states_of(entries) and not what.startswith("remove"):
                assert old.state is State.PASSIVE
                assert now >= old.since + timing.keep_s
