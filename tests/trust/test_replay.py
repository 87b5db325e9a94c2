import itertools

from hypothesis import given
from hypothesis import strategies as st

from lockgate_trust import LEEWAY_S, Refused, ReplayGuard
from tests.support.links import NOW

END = int(NOW) + 10


def test_r59_a_signature_passes_once() -> None:
    guard = ReplayGuard()
    assert guard.claim(b"a", expires=END, now=NOW) is None
    assert guard.claim(b"a", expires=END, now=NOW) is Refused.REPLAYED
    assert guard.claim(b"a", expires=END, now=NOW + 19.9) is Refused.REPLAYED


def test_another_signature_of_the_same_second_passes() -> None:
    guard = ReplayGuard()
    assert guard.claim(b"a", expires=END, now=NOW) is None
    assert guard.claim(b"b", expires=END, now=NOW) is None


def test_a_signature_is_forgotten_only_after_its_end_and_the_leeway() -> None:
    guard = ReplayGuard()
    guard.claim(b"a", expires=END, now=NOW)
    guard.claim(b"b", expires=END + 60, now=END)
    assert len(guard) == 2
    guard.claim(b"c", expires=END + 60, now=END + 2 * LEEWAY_S + 1)
    assert len(guard) == 2


def test_a_clock_set_back_brings_no_signature_back_to_life() -> None:
    guard = ReplayGuard()
    guard.claim(b"a", expires=END, now=NOW)
    guard.claim(b"b", expires=END + 60, now=END + 2 * LEEWAY_S - 0.1)
    assert guard.claim(b"a", expires=END, now=END + LEEWAY_S - 0.1) is Refused.REPLAYED


def test_a_full_memory_refuses_rather_than_forgets() -> None:
    guard = ReplayGuard(capacity=2)
    assert guard.claim(b"a", expires=END, now=NOW) is None
    assert guard.claim(b"b", expires=END, now=NOW) is None
    assert guard.claim(b"c", expires=END, now=NOW) is Refused.REPLAY_MEMORY_FULL
    assert guard.claim(b"a", expires=END, now=NOW) is Refused.REPLAYED
    assert len(guard) == 2


def test_a_full_memory_has_room_again_when_signatures_have_expired() -> None:
    guard = ReplayGuard(capacity=1)
    guard.claim(b"a", expires=END, now=NOW)
    assert guard.claim(b"b", expires=END + 60, now=END + 2 * LEEWAY_S) is None


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=60),
    st.lists(st.integers(0, LEEWAY_S), max_size=60),
)
def test_no_signature_ever_passes_twice_while_a_verifier_accepts_it(
    steps: list[tuple[int, int]], set_back: list[int]
) -> None:
    """R-59, R-221: also where the clock is set back, by as much as clocks may differ."""
    guard = ReplayGuard()
    passed = set()
    time = NOW
    for (number, wait), back in zip(steps, itertools.chain(set_back, itertools.repeat(0)), strict=False):
        time += wait
        now = time - back
        expires = END + number
        if now >= expires + LEEWAY_S:
            continue
        first = guard.claim(b"%d" % number, expires=expires, now=now) is None
        assert first == (number not in passed)
        passed.add(number)
    assert len(guard) <= len(passed)
