"""Logs of a service."""

from __future__ import annotations

import sys

import structlog

from lockgate_common.logs import RENDER, configure_logging


def configure_service_logs(service: str, level: str) -> None:
    """Set up logging for a process that runs `service`; `level` as in `ServiceSettings.log_level`."""

    def name_service(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    structlog.configure(
        processors=[*configure_logging(name_service), RENDER],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
