"""The answer to a browser that asks before it asks (CORS preflight). It has no content, and says it at once."""

from __future__ import annotations

from http import HTTPStatus

from lockgate.edge.answers import no_content
from lockgate.edge.connection import ClientConnection
from lockgate.edge.request import InboundRequest


class Preflight:
    """One preflight request, which is answered when this is made.

    Args:
        request: the browser's.
        client: the connection it came on.
        lines: the fields of the answer, each ended by CRLF.
        date: of the Date field.
    """

    def __init__(self, request: InboundRequest, client: ClientConnection, lines: str, date: str) -> None:
        if request.has_body or not client.keep_alive:
            client.keep_alive = False
            lines += "Connection: close\r\n"
        client.write(no_content(lines, request.request_id, date))
        client.finish(HTTPStatus.NO_CONTENT)

    def body(self, data: bytes) -> None:
        """Nobody asked for it."""

    def body_complete(self) -> None:
        """Nothing to do: it was answered already."""

    def client_gone(self) -> None:
        """Nothing to free."""

    def pause_sending(self) -> None:
        """Nothing more is sent."""

    def resume_sending(self) -> None:
        """Nothing more is sent, likewise."""

    def timed_out(self) -> None:
        """It set no deadline."""
