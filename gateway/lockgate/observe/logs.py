"""Logs of the gateway itself."""

from __future__ import annotations

import logging

import structlog

from lockgate_common.logs import configure_logging


def configure_gateway_logging() -> None:
    """Set up logging for a worker."""
    configure_logging(structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder())
    logging.getLogger("lockgate").setLevel(logging.INFO)
