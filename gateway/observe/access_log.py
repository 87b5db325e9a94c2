"""One JSON line for each request: what an operator searches by, and nothing that is a secret.

The query is left out, because people put tokens into it; so are header fields of any kind.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from gateway.clock import Clock


class AccessLog:
    """Writes lines to standard output, which is flushed at each tick and not at each line.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def answered(  # noqa: PLR0913 - the fields of a line
        self,
        *,
        request_id: str,
        client: str,
        method: str,
        path: str,
        route: str,
        status: int,
        seconds: float,
        reason: str,
    ) -> None:
        """One request was answered.

        Args:
            request_id: as the client and the service got it.
            client: its address.
            method: as sent.
            path: canonical, without the query.
            route: which one; `-` for none.
            status: of the answer.
            seconds: how long it took.
            reason: why it was refused; empty where it was not.
        """
        line: dict[str, str | int | float] = {
            "time": self._time(),
            "event": "request",
            "request_id": request_id,
            "client": client,
            "method": method,
            "path": path,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
        }
        if reason:
            line["reason"] = reason
        sys.stdout.write(json.dumps(line) + "\n")

    def refused(self, *, client: str, reason: str) -> None:
        """Bytes were refused that are no request; nothing of them is written down."""
        line = {"time": self._time(), "event": "refused", "client": client, "reason": reason}
        sys.stdout.write(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        sys.stdout.flush()

    def _time(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds")
