"""Faults, grouped by the party at fault. A refusal is not a fault; see `problems`."""

from __future__ import annotations

from lockgate_common import errors as faults

LockgateError = faults.LockgateError
"""A fault: of the configuration, or of something the service depends on."""

ConfigurationError = faults.ConfigurationError
"""The service cannot start as it is configured; the text is one line for the operator."""

StoreUnavailableError = faults.StoreUnavailableError
"""A database or Redis did not answer, or cannot take part in what was asked."""


class OutboundError(LockgateError):
    """A call to another service brought no answer that can be used."""


class UpstreamAwayError(OutboundError):
    """The other service was never reached: nothing has happened there."""


class OutcomeUnknownError(OutboundError):
    """The other service may or may not have done what it was asked."""


class BusyError(LockgateError):
    """More is asked of this process than it can do in time; nothing was done."""
