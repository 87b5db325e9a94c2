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
from lockgate.upstream.response import map_addresses


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
    """Ask the service for a WebSocket. Where no connection comes about, another address is tried.

    Args:
        entry: the admitted handshake.
        sides: the open connections to services.
        now: Unix seconds, for the signature.
        timeout_s: how long the whole handshake may take.

    Returns:
        An open socket; the service's response in its place; or a refusal by the gateway.
    """
    service, retried = entry.service, False
    pool = service.choose_pool(entry.handshake.request)
    if isinstance(pool, Refusal):
        return pool
    try:
        async with asyncio.timeout(timeout_s):
            try:
                side = await pool.open_connection(partial(ServiceSide, sides))
            except OSError as error:
                other = service.choose_another(entry.handshake.request, pool)
                if other is None or not service.retries.permit_retry(pool.endpoint.url, _reason_of(error)):
                    raise
                pool.breaker.record_failure()
                pool, retried = other, True
                side = await pool.open_connection(partial(ServiceSide, sides))
            outcome = await _shake_hands(entry, pool, side, now)
    except (WireError, OSError) as error:
        pool.breaker.record_failure()
        if retried:
            service.retries.note_failure()
        return Refusal(_reason_of(error))
    pool.breaker.record_success()
    return outcome


def _reason_of(error: WireError | OSError) -> Reason:
    if isinstance(error, WireError):
        return Reason.LINK_REFUSED if error.reason is Reason.LINK_REFUSED else Reason.UPSTREAM_BROKE
    return Reason.UPSTREAM_TIMEOUT if isinstance(error, TimeoutError) else Reason.UPSTREAM_REFUSED


async def _shake_hands(entry: Entry, pool: UpstreamPool, side: ServiceSide, now: float) -> Accepted | Denial | Refusal:
    kept = False
    try:
        response = await _request_upgrade(entry, pool, side, now)
        rules = entry.service.response_rules
        lines = parse_upgrade_response(response.head, entry.handshake, rules, pool.heads.hidden)
        if isinstance(lines, Declined):
            denial = await read_denial(response, side, pool.heads)
            if denial is None:
                return Refusal(Reason.SOCKET_DECLINED, note=f"status {lines.status}")
            addresses = entry.service.addresses
            if addresses is not None:
                denial = denial._replace(head=map_addresses(denial.head, addresses))
            return denial if rules is None else denial.change_fields(rules)
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
