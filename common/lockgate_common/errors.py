"""Faults that the gateway and the services share. Each side's `errors` gives them the same names.

A fault is never a refusal of a request; a refusal is a value.
"""

from __future__ import annotations


class LockgateError(Exception):
    """A fault: of the configuration, or of something the program depends on."""


class ConfigurationError(LockgateError):
    """The program cannot start as it is configured; each argument is one line for the operator."""

    def __str__(self) -> str:
        """All lines as one."""
        return "; ".join(map(str, self.args))


class StoreUnavailableError(LockgateError):
    """A store (Redis, a database) did not answer, or answered that it cannot do what was asked."""


class StoreRefusedError(StoreUnavailableError):
    """Redis answers and cannot be used as it, or the way to it, is configured; that does not heal by itself."""


class UnconfirmedError(StoreUnavailableError):
    """It was written, and too few replicas have confirmed that they have it, too."""
