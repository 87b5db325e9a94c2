"""Faults, grouped by whose they are. A refusal is not one of them; see `problems`."""

from __future__ import annotations


class ServiceError(Exception):
    """A fault: of the configuration, or of something the service depends on."""


class ConfigurationError(ServiceError):
    """The service cannot start as it is configured; the text is one line for the person who starts it."""


class StoreUnavailableError(ServiceError):
    """The database did not answer, or cannot take part in what was asked; nothing was written."""


class OutboundError(ServiceError):
    """A call to another service brought no answer that can be used."""


class UpstreamAwayError(OutboundError):
    """The other service was never reached: nothing has happened there."""


class OutcomeUnknownError(OutboundError):
    """The other service may or may not have done what it was asked."""


class BusyError(ServiceError):
    """More is asked of this process than it can do in time; nothing was done."""
