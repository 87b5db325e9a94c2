"""How long a response goes on whose token ran out while it was sent; for one that was revoked there is no such time.

docs/decisions/0106 says why it may go on at all.
"""

from __future__ import annotations

from typing import NamedTuple


class OvertimeBounds(NamedTuple):
    """What is allowed after a token has expired.

    Attributes:
        allowed_s: how long, seconds; 0: not at all.
        rate: bytes per second that are sent at least, in each window.
        window_s: seconds.
    """

    allowed_s: float
    rate: float
    window_s: float


NO_OVERTIME = OvertimeBounds(0, 0, 0)


class Overtime:
    """The time of one response.

    Args:
        bounds: of it.

    Attributes:
        sent: bytes of the response so far, as far as they are counted.
        welcome: Redis was asked in this window, and the token is not revoked.
    """

    __slots__ = ("_begun", "_bounds", "_sent_before", "sent", "welcome")

    def __init__(self, bounds: OvertimeBounds) -> None:
        self._bounds = bounds
        self._begun: float | None = None
        self._sent_before = 0
        self.sent = 0
        self.welcome = False

    def goes_on(self, expired_for_s: float, now: float) -> bool:
        """Whether the response may go on.

        Args:
            expired_for_s: how long ago the token ran out.
            now: monotonic seconds.
        """
        if expired_for_s >= self._bounds.allowed_s:
            return False
        if self._begun is None:
            self._begin(now)
        elif now - self._begun >= self._bounds.window_s:
            if not self.welcome or self.sent - self._sent_before < self._bounds.rate * self._bounds.window_s:
                return False
            self._begin(now)
        return True

    def _begin(self, now: float) -> None:
        self._begun, self._sent_before, self.welcome = now, self.sent, False
