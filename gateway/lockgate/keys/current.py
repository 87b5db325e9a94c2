"""Keys that are replaced whole while a worker runs."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Current(Generic[T]):
    """The keys in use. Holders keep this object and read `value` at each use, so a change reaches all of them at once.

    What a holder derives from a value belongs to it: the holder compares identity and derives again.

    Attributes:
        value: never changed, only replaced.
    """

    def __init__(self, value: T) -> None:
        self.value = value
