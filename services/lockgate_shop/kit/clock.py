"""Time, as the services ask for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Seconds since the Unix epoch. `time.time` in a running service; tests pass their own."""


def utc_now(clock: Clock) -> datetime:
    """What the clock says, as an aware UTC time."""
    return datetime.fromtimestamp(clock(), UTC)
