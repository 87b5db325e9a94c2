"""The handshake with the service: the outcome is an open WebSocket, or a response in its place."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NamedTuple

from lockgate.edge.wire import WireError
from lockgate.errors import Reason, Refusal
from lockgate.forward.websocket.denial import Denial, read_denial
from lockgate.forward.websocket.entry import Entry
from lockgate.forward.websocket.handshake import Declined, parse_upgrade_response
from lockgate.forward.websocket.upstream import ServiceSide, UpgradeResponse
from lockgate.upstream.pool import UpstreamPool


class Accepted(NamedTuple):
    """The service has opened a WebSocket.

    Attributes:
        side: the connection to the service, which the receiver of this value must end.
        lines: the lines of the client's response, each ended by CRLF, without the empty line.
        rest: the bytes that the service sent after its response.
    """

    side: ServiceSide
    lines: bytes
    rest: bytes


async def ask_service(
    entry: Entry, sides: set[ServiceSide], *, now: float, timeout_s: float
) -> Accepted | Denial | Refusal:
    """Ask the service for a WebSocket.

    Args:
        entry: the admitted handshake.
        sides: the open connections to services.
        now: Unix seconds, for the signature.
        timeout_s: how long the whole handshake may take.

    Returns:
        An open socket; the service's response in its place; or a refusal by the gateway.
    """
    pool = entry.service.choose_pool()
    if isinstance(pool, Refusal):
        return pool
    try:
        async with asyncio.timeout(timeout_s):
            outcome = await _shake_hands(entry, pool, sides, now)
    except WireError as error:
        pool.breaker.record_failure()
        return Refusal(Reason.LINK_REFUSED if error.reason is Reason.LINK_REFUSED else Reason.UPSTREAM_BROKE)
    except OSError as fault:
        pool.breaker.record_failure()
        return Refusal(Reason.UPSTREAM_TIMEOUT if isinstance(fault, TimeoutError) else Reason.UPSTREAM_REFUSED)
    pool.breaker.record_success()
    return outcome


async def _shake_hands(
    entry: Entry, pool: UpstreamPool, sides: set[ServiceSide], now: float
) -> Accepted | Denial | Refusal:
    side = await pool.open_connection(partial(ServiceSide, sides))
    kept = False
    try:
        response = await _request_upgrade(entry, pool, side, now)
        lines = parse_upgrade_response(response.head, entry.handshake)
        if isinstance(lines, Declined):
            denial = await read_denial(response, side, pool.heads)
            return denial or Refusal(Reason.SOCKET_DECLINED, note=f"status {lines.status}")
        kept = True
        return Accepted(side, lines, response.rest)
    finally:
        if not kept:
            side.abort()


async def _request_upgrade(entry: Entry, pool: UpstreamPool, side: ServiceSide, now: float) -> UpgradeResponse:
    head = entry.service.requests.build_head(
        entry.handshake.request,
        entry.admitted.identity,
        host=entry.service.host_for(entry.handshake.request, pool),
        body=b"",
        forward_authorization=entry.service.forward_authorization,
        now=now,
    )
    side.write(head)
    return await side.upgrade_response
