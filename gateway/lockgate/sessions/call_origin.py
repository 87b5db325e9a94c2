"""Where a call to the gateway came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """Where a call came from.

    Attributes:
        address: of the client.
        agent: its User-Agent; kept for the user to recognise a session, never believed.
        request_id: of the call.
    """

    address: str
    agent: str
    request_id: str

    @property
    def audit_fields(self) -> dict[str, str]:
        """What the audit trail says of the call."""
        return {"address": self.address, "request_id": self.request_id}
