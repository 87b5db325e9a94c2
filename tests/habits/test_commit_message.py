"""A commit message says what and why."""

from __future__ import annotations

import pytest

from tests.habits.commit_message import SUBJECT_LENGTH, faults

BODY = "\n\nThe reader of the history asks why.\n"


@pytest.mark.parametrize(
    "message",
    [
        f"Count vague pronouns in prose{BODY}",
        f"{'A' * SUBJECT_LENGTH}{BODY}",
        "Merge branch 'main'\n",
        f"Subject{BODY}# a comment of git\n",
        f"Subject{BODY}# ------------------------ >8 ------------------------\n{'x' * 200}",
    ],
)
def test_a_message_by_the_rule(message: str) -> None:
    assert faults(message) == []


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("", "capital letter"),
        (f"count pronouns{BODY}", "capital letter"),
        (f"Count pronouns.{BODY}", "full stop"),
        (f"{'A' * (SUBJECT_LENGTH + 1)}{BODY}", "73 characters"),
        ("Count pronouns\n", "body"),
        ("Count pronouns\n\n# a comment of git\n", "body"),
        ("Count pronouns\nat once\n", "empty line"),
        ("Count pronouns\n\n# ------------------------ >8\ndiff\n", "body"),
    ],
)
def test_a_message_against_the_rule(message: str, fault: str) -> None:
    assert any(fault in found for found in faults(message))
