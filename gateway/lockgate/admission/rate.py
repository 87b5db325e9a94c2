"""Rate limits: counted in Redis, the same for all nodes.

A limit by second, minute or hour slides. Its estimate is the count of the current window plus the share of the previous
one that still overlaps the last `window_s` seconds. It never lets through more than the limit in an aligned window, and
over any span of that length at most the error of taking the previous window's requests as evenly spread. The previous
window no longer changes, so a worker asks for it once.

A limit by day or month counts for a period of the calendar in UTC, and looks at no other period.

After the first request of a window, a request costs one INCRBY, shared by all requests of a tick for the same key.
Every counter expires, also one that Redis lost and that a worker then counts on.
"""

from __future__ import annotations

import math
import time
from calendar import timegm
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from lockgate.clock import MAX_LEEWAY_S
from lockgate.edge.client_address import counted_network
from lockgate.edge.limit_fields import policy_item, refused_fields, standing_head
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Principal
from lockgate.policy.limits import MONTH_S, Limit
from lockgate.stores.layout import rate_key
from lockgate.stores.link import AWAY, Command
from lockgate.stores.packed import PackedCommand

MAX_WINDOWS: Final = 100_000
"""How many counters a worker keeps in mind; forgetting one costs a question more, and no exactness."""
_MONTHS: Final = 12


def subject(limit: Limit, principal: Principal | None, address: str) -> str:
    """The subject that a request counts for.

    Args:
        limit: a limit of its route.
        principal: of its token. A request without credentials counts for the network of its client.
        address: of the client.
    """
    if limit.per == "route":
        return "" if limit.role is None else f"r:{limit.role}"
    if principal is not None:
        if limit.per == "user":
            return f"u:{principal.sub}"
        if limit.per == "client":
            return f"c:{principal.client_id}"
    return f"a:{counted_network(address) if ':' in address else address}"


class Period(NamedTuple):
    """The span of time that a counter counts in.

    Attributes:
        number: counted from the epoch, or from the year 0 for months.
        starts: Unix seconds.
        ends: Unix seconds; the first second of the next period.
    """

    number: int
    starts: int
    ends: int


def find_period(window_s: int, now: float) -> Period:
    """The period of a limit.

    Args:
        window_s: of the limit.
        now: Unix seconds.
    """
    if window_s != MONTH_S:
        number = int(now // window_s)
        return Period(number, number * window_s, (number + 1) * window_s)
    year, month = time.gmtime(now)[:2]
    number = year * _MONTHS + month - 1
    return Period(number, _find_first(number), _find_first(number + 1))


def _find_first(month: int) -> int:
    """The first second of a month, counted from the year 0."""
    year, before = divmod(month, _MONTHS)
    return timegm((year, before + 1, 1, 0, 0, 0))


@dataclass(slots=True, eq=False)
class Window:
    """One counter, as far as this worker knows it.

    Attributes:
        key: in Redis.
        previous_key: the counter of the window before; `None` where the limit looks at no other period.
        starts: Unix seconds.
        ends: Unix seconds; the first second of the next window.
        previous: the final count of the window before; `None` until Redis told.
        local: requests let through by this worker alone, while Redis is away.
        count_one: the command that counts a request in Redis.
        policy: the item of RateLimit-Policy.
        standing: the begin of the item of RateLimit.
    """

    limit: Limit
    key: bytes
    previous_key: bytes | None
    starts: int
    ends: int
    previous: int | None = None
    local: int = 0
    count_one: PackedCommand = field(init=False)
    policy: str = field(init=False)
    standing: str = field(init=False)

    def __post_init__(self) -> None:
        limit = self.limit
        self.count_one = PackedCommand.of(b"INCRBY", self.key, 1)
        self.policy = policy_item(limit.name, limit.requests, limit.window_s)
        self.standing = standing_head(limit.name)

    def opening_commands(self, now: float) -> list[Command]:
        """The commands before the first request: make the counter expire, and read the one before."""
        opening: list[Command] = [(b"SET", self.key, 0, b"PX", self._life_ms(now), b"NX")]
        if self.previous_key is not None:
            opening.append((b"GET", self.previous_key))
        return opening

    def take_opening(self, replies: Iterator[Any]) -> None:
        """Take the replies to `opening_commands`. Where Redis could not carry them out, they are asked again."""
        made = next(replies)
        before = 0 if self.previous_key is None else next(replies)
        self.previous = None if made is AWAY or before is AWAY else int(before or 0)

    def expire_command(self, now: float) -> Command:
        """The command that makes the counter expire, once more."""
        return (b"PEXPIRE", self.key, self._life_ms(now))

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

    def refusal(self, windows: Sequence[Window], now: float) -> Refusal:
        """The refusal of a request over this limit.

        Args:
            windows: of all limits that the request counts for.
            now: Unix seconds.
        """
        limit = self.limit
        fields = refused_fields(_join_policies(windows), limit.name, self.reset_in_s(now))
        return Refusal(Reason.RATE_LIMITED, headers=fields, note=f"{limit.per} on {limit.route}")

    def reset_in_s(self, now: float) -> int:
        """Whole seconds until the window ends, at least one."""
        return max(1, self.ends - int(now))

    def _life_ms(self, now: float) -> int:
        """How long the counter is of use to any node: in the window after, or until the calendar turns."""
        if self.previous_key is not None:
            return 2000 * self.limit.window_s
        return 1000 * (self.reset_in_s(now) + MAX_LEEWAY_S)


def describe_limits(windows: Sequence[Window], remaining: Sequence[int], now: float) -> str:
    """The lines of a response that tell how its request stands to the limits; empty where there are none.

    Micro-optimisation: most routes have one limit, and its lines are one text with two numbers.
    """
    if not windows:
        return ""
    first, left = windows[0], remaining[0]
    if len(windows) == 1:
        return f"RateLimit-Policy: {first.policy}\r\nRateLimit: {first.standing}{left};t={first.reset_in_s(now)}\r\n"
    standings = ", ".join(
        [f"{one.standing}{left};t={one.reset_in_s(now)}" for one, left in zip(windows, remaining, strict=True)]
    )
    return f"RateLimit-Policy: {_join_policies(windows)}\r\nRateLimit: {standings}\r\n"


def _join_policies(windows: Sequence[Window]) -> str:
    return ", ".join([window.policy for window in windows])


@dataclass(slots=True, eq=False)
class Tally:
    """The requests of one tick that count for one window.

    Attributes:
        asked: how many.
        first: the window's count before them, once Redis told; `None` where the node that counts is away, or full.
        passed: how many of them were let through so far.
        opens: the counter is made with these requests, as far as this worker knows.
    """

    window: Window
    asked: int = 1
    first: int | None = 0
    passed: int = 0
    opens: bool = field(init=False)

    def __post_init__(self) -> None:
        self.opens = self.window.previous is None

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
        window = self._known.get((limit, who))
        if window is not None and window.starts <= now < window.ends:
            return window
        if window is None and len(self._known) >= MAX_WINDOWS:
            self._known.popitem(last=False)
        fresh = _open_window(limit, who, now)
        self._known[(limit, who)] = fresh
        return fresh


def _open_window(limit: Limit, who: str, now: float) -> Window:
    number, starts, ends = find_period(limit.window_s, now)
    if limit.is_quota:
        return Window(limit, rate_key(limit.route, limit.per, who, limit.window_name, number), None, starts, ends)
    window = str(limit.window_s)
    key = rate_key(limit.route, limit.per, who, window, number)
    return Window(limit, key, rate_key(limit.route, limit.per, who, window, number - 1), starts, ends)
