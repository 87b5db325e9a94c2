"""Logs of the gateway itself."""

from __future__ import annotations

import logging

from lockgate_common.logs import configure_logging


def configure_gateway_logging() -> None:
    """Set up logging for a worker, or for the parent of several."""
    configure_logging()
    # Python's own warnings would stand between the lines as text.
    logging.captureWarnings(capture=True)
    logging.getLogger("lockgate").setLevel(logging.INFO)
