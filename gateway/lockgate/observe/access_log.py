"""Writes a JSON line for each request, for an operator to search by, without secrets.

The query is left out because clients put tokens there. Header fields are left out, except a refused origin.
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
    """Writes lines to standard output, which is flushed at each tick and not at each line."""

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
        """Write the line of a request that has ended.

        Args:
            request_id: as the client and the service got it.
            own_id: made by this worker; written where different from `request_id`.
            client: the address that the request counts for.
            method: as sent.
            path: canonical, without the query.
            route: the route's name; `-` for none.
            status: the status of the response.
            seconds: from the end of the request's head to the end of the response.
            reason: why the request was refused; empty for a request that was served.
            origin: the origin that the request was refused for, as sent; otherwise empty.
        """
        why = f', "reason": "{reason}"' if reason else ""
        own = "" if own_id is request_id else f'"own_id": "{own_id}", '
        if origin:
            why += f', "origin": {json.dumps(origin[:_MAX_ORIGIN])}'
        # Micro-optimisation: a format string instead of `json.dumps`, in each request. The quoted values hold no quote,
        # backslash or control character: the edge refuses them in methods, paths and addresses, and the gateway makes
        # the other values.
        self._write_line(
            f'{{"time": "{self._timestamp()}", "event": "request", "request_id": "{request_id}", '
            f'{own}"client": "{client}", '
            f'"method": "{method}", "path": "{path}", "route": "{route}", "status": {status}, '
            f'"ms": {seconds * 1000:.2f}{why}}}\n'
        )

    def write_refused_bytes(self, *, client: str, reason: str) -> None:
        """Write the line of refused bytes that are no request; none of the bytes are in the line."""
        line = {"time": self._timestamp(), "event": "refused", "client": client, "reason": reason}
        self._write_line(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Hand the written lines to the operating system."""
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

    def _timestamp(self) -> str:
        # Micro-optimisation: the text of a second is formatted once.
        now = self._clock.now()
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{int((now - second) * 1000):03}+00:00"


def _forget_output() -> None:
    """Discard further lines: the log's reader has gone (a closed pipe or terminal), and requests are still served."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for the rest of the process
