"""Logs: one JSON object a line on standard error, also for what libraries say."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

RENDER = structlog.processors.JSONRenderer()
"""Control characters are escaped by JSON, so one event stays one line (R-184)."""


def configure_logging(*more: Processor) -> list[Processor]:
    """Write what the loggers of the standard library say, from `WARNING` on.

    Args:
        more: what adds members to each event.

    Returns:
        The processors of an event before `RENDER`, for loggers of structlog.
    """
    processors: list[Processor] = [
        structlog.stdlib.add_log_level,
        *more,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, RENDER],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    return processors
