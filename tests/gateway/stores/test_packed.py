"""What is packed once is, to the byte, what hiredis packs (R-10 to R-13 stand on these questions)."""

from __future__ import annotations

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from lockgate.stores.packed import PackedCommand, PackedKeys, ask_for_all

KEYS = st.lists(st.binary(max_size=300), min_size=1, max_size=4)


def words_of(data: bytes) -> list[bytes]:
    """The command that a Redis reads."""
    reader = hiredis.Reader()
    reader.feed(data)
    (found, rest) = (reader.gets(), reader.gets())
    assert rest is False
    assert isinstance(found, list)
    return found


@given(questions=st.lists(KEYS, min_size=1, max_size=20))
def test_one_command_asks_for_the_keys_of_all_questions_in_order(questions: list[list[bytes]]) -> None:
    command = ask_for_all([PackedKeys.of(*names) for names in questions])
    expected = [b"MGET", *(name for names in questions for name in names)]
    assert list(command.words) == expected
    assert words_of(command.data) == expected


@given(key=st.binary(max_size=300), amount=st.integers(0, 2**63 - 1))
def test_a_packed_command_says_what_its_words_say(key: bytes, amount: int) -> None:
    command = PackedCommand.of(b"INCRBY", key, amount)
    assert command.words == (b"INCRBY", key, amount)
    assert words_of(command.data) == [b"INCRBY", key, b"%d" % amount]
