"""One JSON line for each request: what an operator searches by, and nothing that is a secret.

The query is left out, because people put tokens into it; so are header fields of any kind.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import Final

from lockgate.clock import Clock

_MAX_ORIGIN: Final = 256


class AccessLog:
    """Writes lines to standard output, which is flushed at each tick and not at each line.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._text = ""

    def write_request(  # noqa: PLR0913 - the fields of a line
        self,
        *,
        request_id: str,
        own_id: str,
        client: str,
        method: str,
        path: str,
        route: str,
        status: int,
        seconds: float,
        reason: str,
        origin: str = "",
    ) -> None:
        """One request was answered.

        Args:
            request_id: as the client and the service got it.
            own_id: made here; written where it is another one.
            client: its address.
            method: as sent.
            path: canonical, without the query.
            route: which one; `-` for none.
            status: of the answer.
            seconds: how long it took.
            reason: why it was refused; empty where it was not.
            origin: that it was refused for, as sent; empty where it was not.
        """
        why = f', "reason": "{reason}"' if reason else ""
        own = "" if own_id is request_id else f'"own_id": "{own_id}", '
        if origin:
            why += f', "origin": {json.dumps(origin[:_MAX_ORIGIN])}'
        # Written by hand, because it is written for each request. What is quoted cannot hold a quote, a backslash or a
        # control character: the edge lets none of them into a method, a path or an address, and the rest is ours.
        self._write_line(
            f'{{"time": "{self._now()}", "event": "request", "request_id": "{request_id}", {own}"client": "{client}", '
            f'"method": "{method}", "path": "{path}", "route": "{route}", "status": {status}, '
            f'"ms": {seconds * 1000:.2f}{why}}}\n'
        )

    def write_refused_bytes(self, *, client: str, reason: str) -> None:
        """Bytes were refused that are no request; nothing of them is written down."""
        line = {"time": self._now(), "event": "refused", "client": client, "reason": reason}
        self._write_line(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        try:
            sys.stdout.flush()
        except OSError:
            _forget_output()

    @staticmethod
    def _write_line(line: str) -> None:
        try:
            sys.stdout.write(line)
        except OSError:
            _forget_output()

    def _now(self) -> str:
        now = self._clock.now()
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{int((now - second) * 1000):03}+00:00"


def _forget_output() -> None:
    """The log's reader is gone (a closed pipe or terminal): that is no reason to serve nobody."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for the rest of the process
