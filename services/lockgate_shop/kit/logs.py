"""Logs of a service."""

from __future__ import annotations

import sys

import structlog

from lockgate_common.logs import configure_logging


def configure_service_logs(service: str, level: str) -> None:
    """Set up logging for a process that runs `service`; `level` as in `ServiceSettings.log_level`."""

    def name_service(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    configure_logging(service=service)
    structlog.configure(
        # The same members as in the lines of libraries.
        processors=[
            structlog.stdlib.add_log_level,
            name_service,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
