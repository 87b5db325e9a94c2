"""The checker of histories finds each kind of fault, and none in a correct history."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.support.history import Did, Op, violations


def did(op: Op, at: float, **facts: Any) -> Did:  # noqa: ANN401 - those of `Did`
    """A request that took a second, of alice in the session `s`."""
    given = {"user": "alice", "session": "s", "seen": ("alice", "s"), **facts}
    return Did(op=op, begun=at, ended=at + 1, **given)


LOGIN = did(Op.LOGIN, 0, access="a0", refresh="r0")
REFRESH = did(Op.REFRESH, 10, token="r0", access="a1", refresh="r1")
SAME_AGAIN = did(Op.REFRESH, 10.5, token="r0", access="a1b", refresh="r1")
NEXT = did(Op.REFRESH, 20, token="r1", access="a2", refresh="r2")
CALL = did(Op.CALL, 22, token="a2")
RIGHT = [LOGIN, REFRESH, SAME_AGAIN, NEXT, CALL]


def test_a_history_that_is_as_it_should_be_passes() -> None:
    logout = did(Op.LOGOUT, 30, token="a2", status=204)
    late = [did(Op.CALL, 32, token="a2", status=401), did(Op.REFRESH, 33, token="r2", status=400)]
    unanswered = did(Op.REVOKE, 24, token="a2", status=None)
    assert violations([*RIGHT, unanswered, did(Op.CALL, 26, token="a2"), logout, *late]) == []


@pytest.mark.parametrize(
    "end",
    [
        did(Op.REVOKE, 30, token="a2"),
        did(Op.LOGOUT, 30, token="a1", status=204),
        did(Op.LOGOUT_ALL, 30, token="b0", session="t", status=204),
        did(Op.REFRESH, 30, token="r0", status=400),
    ],
    ids=lambda end: end.op.name,
)
def test_a_token_that_is_welcome_after_its_end_is_found(end: Did) -> None:
    late = did(Op.CALL, 32, token="a2")
    assert len(violations([*RIGHT, end, late])) == 1
    # In the same moment it may have come first; and an end that was not acknowledged is none.
    assert violations([*RIGHT, end, dataclasses.replace(late, begun=30.5)]) == []
    assert violations([*RIGHT, dataclasses.replace(end, status=503), late]) == []


def test_a_session_that_goes_on_after_its_end_is_found() -> None:
    logout = did(Op.LOGOUT, 30, token="a2", status=204)
    assert len(violations([*RIGHT, logout, did(Op.REFRESH, 32, token="r2", access="a3", refresh="r3")])) == 1


def test_a_login_in_the_moment_of_a_logout_everywhere_may_live() -> None:
    everything = did(Op.LOGOUT_ALL, 30, token="a2", status=204)
    login = did(Op.LOGIN, 30.5, session="t", seen=("alice", "t"), access="b0", refresh="q0")
    call = did(Op.CALL, 40, session="t", seen=("alice", "t"), token="b0")
    assert violations([*RIGHT, everything, login, call]) == []


def test_a_second_successor_is_found() -> None:
    other = dataclasses.replace(SAME_AGAIN, refresh="r1b")
    assert any(line.startswith("another successor") for line in violations([LOGIN, REFRESH, other]))


def test_two_live_leaves_of_a_family_are_found() -> None:
    branch = did(Op.REFRESH, 20.5, token="r0b", access="b2", refresh="r2b")
    assert violations([*RIGHT, branch]) == ["session s has 2 live leaves"]


def test_an_ancestor_that_works_again_is_found() -> None:
    late = did(Op.REFRESH, 25, token="r0", access="a9", refresh="r1")
    assert len(violations([*RIGHT, late])) == 1
    # Begun before the answer about its successor was there: it may have been first.
    assert violations([*RIGHT, dataclasses.replace(late, begun=20.5)]) == []


@pytest.mark.parametrize("seen", [("bob", "s"), ("alice", "t"), ("", "")])
@pytest.mark.parametrize("wrong", RIGHT, ids=lambda wrong: wrong.op.name)
def test_an_answer_about_somebody_else_is_found(wrong: Did, seen: tuple[str, str]) -> None:
    history = [dataclasses.replace(one, seen=seen) if one is wrong else one for one in RIGHT]
    assert len(violations(history)) == 1
