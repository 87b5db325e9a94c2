"""Commands and keys as the bytes that Redis reads, packed once for many questions.

Micro-optimisation: the keys of a token, and the counter of a rate limit, are the same in every question. Packing anew
what eight requests ask takes 12.6 µs; joining what was packed before takes 2.0 (`docs/performance.md`).
"""

from __future__ import annotations

from typing import NamedTuple

import hiredis

Words = tuple[bytes | str | int, ...]


class PackedKeys(NamedTuple):
    """Keys of one slot, in the order in which they are asked for.

    Attributes:
        names: the keys.
        data: the same as bulk strings of RESP, one after the other.
    """

    names: tuple[bytes, ...]
    data: bytes

    @classmethod
    def of(cls, *names: bytes) -> PackedKeys:
        """Pack keys."""
        return cls(names, b"".join([b"$%d\r\n%b\r\n" % (len(name), name) for name in names]))


class PackedCommand(NamedTuple):
    """A command that is ready to be sent.

    Attributes:
        words: the command, for a link that has to find the slots of its keys.
        data: the same as an array of RESP.
    """

    words: Words
    data: bytes

    @classmethod
    def of(cls, *words: bytes | str | int) -> PackedCommand:
        """Pack a command."""
        return cls(words, hiredis.pack_command(words))  # type: ignore[arg-type]  # hiredis' types


def ask_for_all(questions: list[PackedKeys]) -> PackedCommand:
    """The MGET of several questions."""
    words: list[bytes] = [b"MGET"]
    for question in questions:
        words += question.names
    data = b"".join([b"*%d\r\n$4\r\nMGET\r\n" % len(words), *[question.data for question in questions]])
    return PackedCommand(tuple(words), data)
