"""Oddities that the edge tolerates and an operator should know of: always counted, logged at most once a minute."""

from __future__ import annotations

import logging
from collections import Counter
from enum import Enum
from typing import Final

LOG_EVERY_S: Final = 60.0
RECENT_S: Final = 600.0

_log = logging.getLogger("lockgate.edge")


class Notice(Enum):
    """The kinds of notices, each with the text of its log line."""

    FIELD_DROPPED = "header fields with '_' or '.' in their names were dropped"
    ADDRESS_UNREADABLE = (
        "a trusted proxy gave a client's address that cannot be read; the proxy's address counts instead"
    )
    PROXY_UNLISTED = (
        "a peer that is not in server.trusted_proxies says where requests come from; if it is your proxy, list it: "
        "until then all its clients count as one"
    )


class Notices:
    """Counts notices, and logs the ones since the last log line of their kind.

    Attributes:
        counts: how often each notice occurred since the start.
    """

    def __init__(self) -> None:
        self.counts: Counter[Notice] = Counter()
        self._seen: dict[Notice, tuple[int, float]] = {}
        self._logged: dict[Notice, tuple[int, float]] = {}

    def add_notice(self, notice: Notice, times: int = 1) -> None:
        """Count a notice, once or several times."""
        self.counts[notice] += times

    def log_new(self, now: float) -> None:
        """Log the notices that are new.

        Args:
            now: monotonic seconds.
        """
        for notice, count in self.counts.items():
            if count != self._seen.get(notice, (0, 0.0))[0]:
                self._seen[notice] = count, now
            logged, at = self._logged.get(notice, (0, -LOG_EVERY_S))
            if count != logged and now - at >= LOG_EVERY_S:
                self._logged[notice] = count, now
                _log.warning("%s (%d times since the last line)", notice.value, count - logged)

    def is_recent(self, notice: Notice, now: float) -> bool:
        """Whether this notice occurred in the last ten minutes."""
        return notice in self._seen and now - self._seen[notice][1] < RECENT_S
