"""Logs: one JSON object a line on standard error, also for what libraries say."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_OF_ANY_RECORD: Final = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"})
"""The attributes of a record that gets no `extra`; `taskName` from Python 3.12 on."""


class JsonLines(logging.Formatter):
    """Renders a record as one line: JSON escapes control characters, so one event stays one line (R-184).

    Args:
        members: further members of each line.
    """

    def __init__(self, **members: str) -> None:
        super().__init__()
        self._members = members

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with the members of `extra` in it, and with the traceback of an exception."""
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._members,
            **{name: value for name, value in vars(record).items() if name not in _OF_ANY_RECORD},
            "timestamp": format_time(record.created),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)


def format_time(moment: float) -> str:
    """A time (Unix seconds) as it stands in a line: RFC 3339, UTC, microseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def configure_logging(**members: str) -> None:
    """Write what the loggers of the standard library say, from `WARNING` on.

    Args:
        members: further members of each line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(**members))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
