"""The contract between the edge and the stages behind it: handlers respond to requests, the observer counts."""

from __future__ import annotations

from typing import Protocol

from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason


class Observer(Protocol):
    """Counts and logs how each request ended."""

    def on_response(
        self, request: InboundRequest, route: str, status: int, seconds: float, reason: Reason | None
    ) -> None:
        """Report a request that got its response, or that its client gave up (status 499).

        Args:
            request: the request that ended.
            route: the name of its route.
            status: the status of the response.
            seconds: from the end of the request's head.
            reason: why the request was refused or broken off; `None` for a request that was served.
        """

    def on_refused_bytes(self, client: str, reason: Reason) -> None:
        """Report bytes that are no acceptable request."""


class Handler(Protocol):
    """Responds to a request. Call order: `body_received` any number of times, then `body_complete`."""

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body."""

    def body_complete(self) -> None:
        """The whole body was read. Requests without a body get this call too."""

    def client_gone(self) -> None:
        """The connection ended before the response was complete: free everything."""

    def pause_sending(self) -> None:
        """The client reads more slowly than the handler sends: stop producing."""

    def resume_sending(self) -> None:
        """The client caught up."""

    def timed_out(self) -> None:
        """The deadline that the handler set for itself has passed."""
