"""What the edge and those behind it promise each other: who answers a request, and who counts the answers."""

from __future__ import annotations

from typing import Protocol

from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason


class Observer(Protocol):
    """Is told how each request ended, to count and log it."""

    def on_response(
        self, request: InboundRequest, route: str, status: int, seconds: float, reason: Reason | None
    ) -> None:
        """A request was answered, or given up by its client (status 499).

        Args:
            request: the one.
            route: the name of its route.
            status: of the answer.
            seconds: from the end of its head.
            reason: why it was refused or broken off; `None` where it was not.
        """

    def on_refused_bytes(self, client: str, reason: Reason) -> None:
        """Bytes were refused that are no request we accept."""


class Handler(Protocol):
    """Answers one request. Calls come from the client's connection, in this order: body*, body_complete."""

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body."""

    def body_complete(self) -> None:
        """The whole body was read; called for requests without a body too."""

    def client_gone(self) -> None:
        """The client went away, or was sent away, before the answer was complete: free everything."""

    def pause_sending(self) -> None:
        """The client reads slower than it is answered: stop producing."""

    def resume_sending(self) -> None:
        """The client caught up."""

    def timed_out(self) -> None:
        """The deadline that the handler set for itself has passed."""
