"""The health of upstreams: a circuit breaker for each address, and an optional active check.

    closed       requests go to the address; `FAILURES` failures in a row open the breaker
    open         no request goes there for a time that doubles from `EJECTED_S` up to `EJECTED_MAX_S`
    half open    a single request probes; success closes the breaker, failure opens the breaker for longer

Only a failure of the connection counts: refused, timed out, broken off, not HTTP. The status of a response does not
count: a 500 is a response, and ejects no upstream.
"""

from __future__ import annotations

from itertools import count
from typing import Final

from lockgate.edge.ticker import Ticker

FAILURES: Final = 5
EJECTED_S: Final = 1.0
EJECTED_MAX_S: Final = 30.0
_FALLS: Final = count(1)


class Breaker:
    """The breaker of an upstream address in a worker.

    Args:
        ticker: the worker's coarse clock.

    Attributes:
        fall: the number of the event by which a working address was ejected, higher for a later one; 0 for none.
    """

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self.fall = 0
        self._on_trial = False
        self._failures = 0
        self._ejected_s = EJECTED_S
        self._open_until: float | None = None
        self._probing_until = 0.0
        self._check_passed = True

    @property
    def is_open(self) -> bool:
        """Whether no request but a probe may go to the upstream now."""
        return self._open_until is not None or not self._check_passed

    def permits_request(self) -> bool:
        """Whether a request may go to the upstream now. During a probe no other request may."""
        if self._open_until is None:
            return self._check_passed
        now = self._ticker.now
        if now < self._open_until or now < self._probing_until:
            return False
        # A probe that never ends must not keep the breaker open for ever.
        self._probing_until = now + self._ejected_s
        return True

    def record_success(self) -> None:
        """The upstream responded."""
        if self._failures or self._open_until is not None:
            self._failures = 0
            self._on_trial = False
            self._open_until = None
            self._probing_until = 0.0
            self._ejected_s = EJECTED_S

    def record_failure(self) -> None:
        """The upstream did not respond."""
        self._failures += 1
        if self._open_until is not None:
            if self._ticker.now < self._open_until:
                return  # this request was under way when the breaker opened, so its failure is no news
            self._ejected_s = min(2 * self._ejected_s, EJECTED_MAX_S)
        elif self._failures < FAILURES:
            return
        elif not self._on_trial:
            self.fall = next(_FALLS)
        self._open_until = self._ticker.now + self._ejected_s
        self._probing_until = 0.0

    def begin_trial(self) -> None:
        """Permit requests until the next failure: what the breaker knows may be out of date."""
        self.fall = 0
        self._on_trial = True
        self._failures = FAILURES - 1
        self._open_until = None
        self._probing_until = 0.0

    def record_check(self, *, healthy: bool) -> None:
        """Record a result of the active check."""
        self._check_passed = healthy
        if healthy:
            self.record_success()

    def retry_after_s(self) -> int:
        """Whole seconds until a request may probe; at least 1."""
        if self._open_until is None:
            return 1
        return max(1, int(self._open_until - self._ticker.now) + 1)
