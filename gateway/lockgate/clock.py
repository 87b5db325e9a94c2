"""The clock of the program, and the only tolerance for clocks that disagree."""

from __future__ import annotations

import time
from typing import Final, Protocol

from lockgate_trust import LEEWAY_S

DEFAULT_LEEWAY_S: Final = LEEWAY_S
"""How far the clocks of any two nodes may differ, in seconds, unless configured. This figure alone bounds
the tokens and signatures that verifiers and services still accept, and how long Redis remembers a revocation, so that
none of these can outlive another."""

MAX_LEEWAY_S: Final = 60
"""A larger tolerance would be a second token lifetime (RFC 9068 section 4: "a few minutes" is the outer bound)."""


class Clock(Protocol):
    """The program's only source of time. Tests pass their own."""

    def now(self) -> float:
        """Seconds since the Unix epoch; may jump when the machine's clock is set."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary point; never goes back."""


class SystemClock:
    """The machine's clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
