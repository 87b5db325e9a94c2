"""What those who observe are told of a request. The edge's `InboundRequest` fits; nothing here imports it."""

from __future__ import annotations

from typing import Protocol


class ObservedRequest(Protocol):
    """The parts of a request that may be written down."""

    @property
    def request_id(self) -> str:
        """By which client, services and logs know it."""

    @property
    def own_id(self) -> str:
        """The id it was given here: 32 hexadecimal digits, of which the second half counts up."""

    @property
    def trace_parent(self) -> str | None:
        """The `traceparent` of the trace that it takes part in; `None` where it begins one."""

    @property
    def client(self) -> str:
        """The address it is accounted to."""

    @property
    def method(self) -> str:
        """As sent."""

    @property
    def path(self) -> str:
        """Canonical, without the query."""

    @property
    def origin(self) -> str:
        """Whose page it says it comes from, as sent: it may hold any characters. Empty where it does not say."""
