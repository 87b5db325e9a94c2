"""Second tries of a service's requests: which requests may have one, how many there may be, and what came of them."""

from __future__ import annotations

import logging
from collections import Counter
from enum import Enum
from typing import Final

from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason

SHARE: Final = 0.2
"""Second tries for each request, at most."""
WINDOW_S: Final = 10.0
"""Seconds for which a request counts for second tries."""
LEAST_PER_S: Final = 10.0
"""Second tries in each second that a service with few requests has, too."""
LOG_EVERY_S: Final = 5.0

_log = logging.getLogger("lockgate.forward")


class Outcome(Enum):
    """What can come of a try that failed. The values are those of the metric's label."""

    TRIED = "tried"
    """The request was tried a second time."""
    FAILED = "failed"
    """The second try failed, too."""
    OVER_BUDGET = "over_budget"
    """There was no second try, because there had been too many."""


class RetryBudget:
    """A bucket of second tries. Each request puts a share of a token in, each second try takes a token out.

    Requests are counted by an addition alone. The bucket is filled when a token is asked for: by `SHARE` of the
    requests of the last `WINDOW_S`, and by `LEAST_PER_S` up to a reserve for `WINDOW_S`.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self.requests = 0
        self._counted = 0
        self._asked_at = now
        self._tokens = 0.0
        self._reserve = LEAST_PER_S * WINDOW_S

    def take_token(self, now: float) -> bool:
        """Whether there may be one more second try.

        Args:
            now: monotonic seconds.
        """
        elapsed, requests = now - self._asked_at, self.requests - self._counted
        self._asked_at, self._counted = now, self.requests
        self._reserve = min(self._reserve + LEAST_PER_S * elapsed, LEAST_PER_S * WINDOW_S)
        left = max(0.0, 1 - elapsed / WINDOW_S)
        recent = requests if elapsed <= WINDOW_S else requests * WINDOW_S / elapsed
        self._tokens = self._tokens * left + SHARE * recent
        if self._tokens >= 1:
            self._tokens -= 1
        elif self._reserve >= 1:
            self._reserve -= 1
        else:
            return False
        return True


class Retries:
    """The second tries of a service in this worker.

    Args:
        service: the service's name.
        ticker: the worker's coarse clock.

    Attributes:
        budget: bounds them.
        counts: how often each outcome was.
    """

    def __init__(self, service: str, ticker: Ticker) -> None:
        self.budget = RetryBudget(ticker.now)
        self.counts: Counter[Outcome] = Counter()
        self._service = service
        self._ticker = ticker
        self._unlogged = 0
        self._logged_at = ticker.now - LOG_EVERY_S

    def permit_retry(self, url: str, reason: Reason) -> bool:
        """Whether a request may be tried once more; counted either way, and logged.

        Args:
            url: the upstream of the first try.
            reason: why the first try failed.
        """
        now = self._ticker.now
        permitted = self.budget.take_token(now)
        self.counts[Outcome.TRIED if permitted else Outcome.OVER_BUDGET] += 1
        self._unlogged += 1
        if now - self._logged_at >= LOG_EVERY_S:
            _log.warning(
                "%s: %s %s at %s (%d failed tries since the last line)",
                self._service,
                reason.name.lower(),
                "and tried again" if permitted else "and not tried again, too many were",
                url,
                self._unlogged,
            )
            self._logged_at, self._unlogged = now, 0
        return permitted

    def note_failure(self) -> None:
        """Count a second try that failed."""
        self.counts[Outcome.FAILED] += 1
