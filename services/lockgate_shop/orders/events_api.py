"""`/orders/events`: a user's changes of orders as they happen, as server-sent events or over a WebSocket.

Both begin with what came after `Last-Event-ID` (or, for clients that cannot set a header, `?last_event_id=`; the header
wins, because a browser that reconnects by itself repeats its first address), and go on with what happens.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, WebSocket
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse

from lockgate_common.background import end_tasks
from lockgate_shop.kit.data.events import BAD_EVENT_ID, TOO_MANY_FOLLOWERS, Event, Feed
from lockgate_shop.kit.errors import StoreUnavailableError
from lockgate_shop.kit.http.api import from_state
from lockgate_shop.kit.http.caller import require_user
from lockgate_shop.kit.http.problems import document_problems, refuse_request, require_granted
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, STORE_AWAY, Problem
from lockgate_trust import caller_of

router: Final = APIRouter(prefix="/orders/events")

EVENT_STREAM: Final = "text/event-stream"
NOT_ACCEPTABLE: Final = Problem(406, "not_acceptable", "This is only to be had as text/event-stream")
GOING_AWAY: Final = 1001
NOTHING_TO_SAY: Final = 1003
TRY_LATER: Final = 1013
"""RFC 6455 section 7.4.1, and the registry it made, for 1013."""

_PLACE: Final = {"schema": {"type": "string"}, "required": False, "description": "Go on after the event of this id"}
_ACCEPTABLE: Final = frozenset({EVENT_STREAM, "text/*", "*/*"})


async def follow_events(connection: HTTPConnection) -> AsyncIterator[AsyncIterator[Event | None]]:
    """The user's events, for as long as the connection lasts.

    Raises:
        RefusedError: the caller is anonymous, `Last-Event-ID` was never given out, or there are too many connections.
    """
    user = await require_user(caller_of(connection.scope))
    seen = connection.headers.get("last-event-id") or connection.query_params.get("last_event_id")
    async with from_state(Feed, "feed", connection).follow_user(user, seen) as events:
        yield require_granted(events)


Followed = Annotated[AsyncIterator[Event | None], Depends(follow_events)]


@router.get(
    "",
    response_class=StreamingResponse,
    responses={
        200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}, "description": "Events, without end"},
        **document_problems(BAD_EVENT_ID, CREDENTIALS_REQUIRED, NOT_ACCEPTABLE, TOO_MANY_FOLLOWERS, STORE_AWAY),
    },
    # Read by hand, for the WebSocket's sake.
    openapi_extra={
        "parameters": [
            {"in": "header", "name": "Last-Event-ID", **_PLACE},
            {"in": "query", "name": "last_event_id", **_PLACE},
        ]
    },
)
async def stream_events(events: Followed, request: Request) -> StreamingResponse:
    """Server-sent events: `order` with `order_id`, `status` and `at`; `reset` when some were missed."""
    offered = {part.partition(";")[0].strip() for part in request.headers.get("accept", "*/*").lower().split(",")}
    if offered.isdisjoint(_ACCEPTABLE):
        refuse_request(NOT_ACCEPTABLE)
    return StreamingResponse(_event_lines(events), media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})


@router.websocket("")
async def socket_events(events: Followed, socket: WebSocket) -> None:
    """The same over a WebSocket, as JSON texts with `id`, `event` and `data`. A client has nothing to say here."""
    await socket.accept()
    sending = asyncio.create_task(_send_all(socket, events))
    receiving = asyncio.create_task(socket.receive())
    try:
        await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            await socket.close(TRY_LATER if sending.exception() else GOING_AWAY)
        elif receiving.result()["type"] != "websocket.disconnect":
            await socket.close(NOTHING_TO_SAY)
    finally:
        await end_tasks(sending, receiving)


async def _event_lines(events: AsyncIterator[Event | None]) -> AsyncIterator[str]:
    # Says at once that the stream is open, also when nothing happens for long.
    yield ": hello\n\n"
    with contextlib.suppress(StoreUnavailableError):  # the client comes back with the id it has
        async for event in events:
            if event is None:
                yield ": still here\n\n"
            elif event.data is None:
                yield f"id: {event.id}\nevent: reset\ndata: {{}}\n\n"
            else:
                yield f"id: {event.id}\nevent: order\ndata: {event.data}\n\n"


async def _send_all(socket: WebSocket, events: AsyncIterator[Event | None]) -> None:
    async for event in events:
        if event is None:
            continue  # the server pings by itself
        name = "reset" if event.data is None else "order"
        data = json.loads(event.data or "{}")
        await socket.send_json({"id": event.id, "event": name, "data": data})
