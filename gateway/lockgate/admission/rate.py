"""Rate limits: a sliding window, counted in Redis, the same for all nodes.

A window's estimate is the count of the current window plus the share of the previous one that still overlaps the last
`window_s` seconds. It never lets through more than the limit in an aligned window, and over any span of that length at
most the error of taking the previous window's requests as evenly spread. The previous window no longer changes, so a
worker asks for it once; after that a request costs one INCRBY, shared by all requests of a tick for the same key.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from lockgate.edge.client_address import counted_network
from lockgate.errors import Reason, Refusal
from lockgate.policy.limits import Limit
from lockgate.stores.layout import rate_key
from lockgate.stores.link import Command
from lockgate.stores.packed import PackedCommand

MAX_WINDOWS: Final = 100_000
"""How many counters a worker keeps in mind; forgetting one costs a question more, and no exactness."""


def subject(limit: Limit, sub: str | None, client: str) -> str:
    """The subject that a request counts for: the user, or the client's network where the request has no credentials."""
    if limit.per == "route":
        return ""
    if limit.per == "user" and sub is not None:
        return f"u:{sub}"
    return f"a:{counted_network(client) if ':' in client else client}"


@dataclass(slots=True, eq=False)
class Window:
    """One counter, as far as this worker knows it.

    Attributes:
        key: in Redis.
        previous_key: the counter of the window before.
        index: which window of `limit.window_s` seconds since the epoch.
        previous: the final count of the window before; `None` until Redis told.
        local: requests let through by this worker alone, while Redis is away.
        ends: when it does, Unix seconds.
        count_one: the command that counts a request in Redis.
    """

    limit: Limit
    key: bytes
    previous_key: bytes
    index: int
    previous: int | None = None
    local: int = 0
    ends: int = field(init=False)
    count_one: PackedCommand = field(init=False)

    def __post_init__(self) -> None:
        self.ends = (self.index + 1) * self.limit.window_s
        self.count_one = PackedCommand.of(b"INCRBY", self.key, 1)

    def left(self, count: int, now: float) -> int:
        """How many more requests the limit allows; negative where not even this one.

        Args:
            count: requests of this window up to and with this one.
            now: Unix seconds.
        """
        limit = self.limit
        estimate: float = float(count)
        if self.previous:
            estimate += self.previous * min(1.0, max(0.0, (self.ends - now) / limit.window_s))
        return math.floor(limit.requests - estimate)

    def left_alone(self) -> int:
        """The same by this worker's own count, for when Redis is away."""
        if self.local < self.limit.requests:
            self.local += 1
            return self.limit.requests - self.local
        return -1

    def lines(self, remaining: int, now: float) -> str:
        """The RateLimit fields, as lines of a head."""
        return (
            f"RateLimit-Limit: {self.limit.requests}\r\nRateLimit-Remaining: {remaining}\r\n"
            f"RateLimit-Reset: {self._reset_in_s(now)}\r\n"
        )

    def refusal(self, now: float) -> Refusal:
        """The answer to a request over the limit."""
        reset_s = self._reset_in_s(now)
        fields = tuple(
            (name, str(value))
            for name, value in (
                ("RateLimit-Limit", self.limit.requests),
                ("RateLimit-Remaining", 0),
                ("RateLimit-Reset", reset_s),
                ("Retry-After", reset_s),
            )
        )
        return Refusal(Reason.RATE_LIMITED, headers=fields, note=f"{self.limit.per} on {self.limit.route}")

    def _reset_in_s(self, now: float) -> int:
        return max(1, self.ends - int(now))


@dataclass(slots=True, eq=False)
class Tally:
    """The requests of one tick that count for one window.

    Attributes:
        asked: how many.
        first: the window's count before them, once Redis told; `None` where the node that counts is away, or full.
        passed: how many of them were let through so far.
    """

    window: Window
    asked: int = 1
    first: int | None = 0
    passed: int = 0

    def count_command(self) -> Command:
        """The command that counts these requests in Redis."""
        window = self.window
        return window.count_one if self.asked == 1 else (b"INCRBY", window.key, self.asked)

    def left(self, now: float) -> int:
        """What the next request of the tick leaves, see `Window.left`. Requests over the limit do not count."""
        if self.first is None:
            return self.window.left_alone()
        left = self.window.left(self.first + self.passed + 1, now)
        if left >= 0:
            self.passed += 1
        return left


class Windows:
    """The counters that a worker has in mind. All of it is in Redis, too: what is forgotten is asked for again."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Limit, str], Window] = OrderedDict()

    def of(self, limit: Limit, who: str, now: float) -> Window:
        """The current window of a limit for one subject."""
        index = int(now // limit.window_s)
        window = self._known.get((limit, who))
        if window is not None and window.index == index:
            return window
        if window is None and len(self._known) >= MAX_WINDOWS:
            self._known.popitem(last=False)
        fresh = Window(
            limit,
            rate_key(limit.route, limit.per, who, limit.window_s, index),
            rate_key(limit.route, limit.per, who, limit.window_s, index - 1),
            index,
        )
        self._known[(limit, who)] = fresh
        return fresh
