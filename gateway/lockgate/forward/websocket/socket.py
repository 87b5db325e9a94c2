"""A WebSocket through the gateway: the handshake as any request, then messages both ways, then a common end.

    opening   the handshake is judged; then the service is asked. The client gets its 101 only after the service has
              accepted. A 4xx response of the service (the client's fault) goes to the client
    open      whole messages are relayed; the client's token may be renewed in-band
    closed    both sides got a close frame, or were broken off

Close codes of the two ends pass through. The gateway's own are: 4401 the token has expired, or a renewal was refused;
4403 the token was revoked, or new rules ask for more than it has; 1012 this node stops, or the route went away; 1014
the service broke off; and 1002, 1007 and 1009 for a client that breaks the protocol.
"""

from __future__ import annotations

import asyncio
import json
import logging
from enum import Enum, auto
from typing import Final

from websockets.frames import CloseCode
from websockets.protocol import Side

from lockgate.admission.open_tokens import Opening, OpenToken, OpenTokens
from lockgate.clock import Clock
from lockgate.codec import strict_json
from lockgate.edge.connection import ClientConnection
from lockgate.edge.request import InboundRequest
from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason, Refusal, StoreUnavailableError
from lockgate.forward.service import Service
from lockgate.forward.websocket.denial import Denial
from lockgate.forward.websocket.entry import Entrance
from lockgate.forward.websocket.frames import Closed, Event, Failed, Frames, Message
from lockgate.forward.websocket.leases import Lease, Leases
from lockgate.forward.websocket.upgrade import Accepted, ask_service
from lockgate.forward.websocket.upstream import ServiceSide
from lockgate.identity.model import VerifiedClaims
from lockgate.policy.origins import Origins
from lockgate.policy.route import Route
from lockgate.settings import SocketSettings

TOKEN_EXPIRED: Final = 4401
TOKEN_REVOKED: Final = 4403
RENEWAL: Final = b'{"lockgate"'
"""A client's text message that begins with this is for the gateway, and is never forwarded."""

_REVOKED: Final = (TOKEN_REVOKED, "token revoked")
_CODES: Final = {
    Reason.TOKEN_EXPIRED: (TOKEN_EXPIRED, "token expired"),
    Reason.TOKEN_REVOKED: _REVOKED,
    Reason.SESSION_ENDED: _REVOKED,
    Reason.EPOCH_RAISED: _REVOKED,
    Reason.TOKEN_UNKNOWN_KEY: _REVOKED,
    Reason.DRAINING: (CloseCode.SERVICE_RESTART, "restarting"),
    Reason.ROUTE_GONE: (CloseCode.SERVICE_RESTART, "route gone"),
}
_NOT_ALLOWED: Final = (TOKEN_REVOKED, "no longer allowed")
"""For every reason by which new rules refuse the token or its absence."""

_log = logging.getLogger("lockgate.forward")


class Sockets:
    """The state that the sockets of a worker share.

    Args:
        settings: the bounds of each socket.
        leases: count the sockets of each user.
        open_tokens: ends sockets with their tokens.
        entrance: judges handshakes and renewals.
        ticker: the worker's coarse clock.
        clock: the exact time.

    Attributes:
        sides: the connections to services.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one part for each thing that happens to a socket
        self,
        settings: SocketSettings,
        leases: Leases,
        open_tokens: OpenTokens,
        entrance: Entrance,
        ticker: Ticker,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.entrance = entrance
        self.leases = leases
        self.open_tokens = open_tokens
        self.ticker = ticker
        self.clock = clock
        self.sides: set[ServiceSide] = set()

    async def close(self) -> None:
        """Abort all connections to services when the worker ends."""
        for side in list(self.sides):
            side.abort()
        await self.leases.close()


class _State(Enum):
    OPENING = auto()
    OPEN = auto()
    CLOSED = auto()


class Socket:
    """A WebSocket, from handshake to end. A `Handler` of the client's connection.

    Args:
        request: the handshake.
        client: the connection that it came over.
        route: the route of its path.
        origins: the pages that may open a WebSocket, of the same rules as the route.
        service: the service of the route.
        sockets: the state that all sockets of the worker share.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a request's rules say of it
        self,
        request: InboundRequest,
        client: ClientConnection,
        route: Route,
        origins: Origins,
        service: Service,
        sockets: Sockets,
    ) -> None:
        self._request = request
        self._client = client
        self._route = route
        self._origins = origins
        self._service = service
        self._sockets = sockets
        self._state = _State.OPENING
        self._lease: Lease | None = None
        self._watch: OpenToken | None = None
        self._side: ServiceSide | None = None
        self._slow_since: float | None = None
        self._service_slow = False
        limit = sockets.settings.message_bytes
        self._to_client = Frames(Side.SERVER, client.write_now, limit)
        self._to_service = Frames(Side.CLIENT, self._write_to_service, limit)
        client.keep_alive = False  # what follows a handshake is never another request
        self._task = asyncio.get_running_loop().create_task(self._open_socket())

    # --- called by the client's connection ---------------------------------------------------------------------

    def body_received(self, data: bytes) -> None:
        """Bytes from the client: frames, once the socket is open."""
        if self._state is _State.OPEN:
            for event in self._to_client.feed(data):
                self._from_client(event)

    def body_complete(self) -> None:
        """Nothing to do: a handshake has no body."""

    def client_gone(self) -> None:
        """The client's connection ended without a close frame."""
        self._close_both_sides(CloseCode.GOING_AWAY)

    def pause_sending(self) -> None:
        """The client reads more slowly than the service sends; pings would only add to its unread bytes."""
        self._slow_since = self._sockets.ticker.now
        self._adjust_flow()

    def resume_sending(self) -> None:
        """The client caught up."""
        self._slow_since = None
        self._adjust_flow()

    def timed_out(self) -> None:
        """Check that both ends are alive, except an end that the gateway does not read from."""
        now, ping_s = self._sockets.ticker.now, self._sockets.settings.ping_s
        self._client.deadline = now + ping_s
        if self._slow_since is not None:
            if now - self._slow_since >= ping_s:
                self._break_off()
        elif not self._to_service.send_ping():
            self._close_both_sides(CloseCode.BAD_GATEWAY, "service does not answer")
        elif not self._service_slow and not self._to_client.send_ping():
            self._break_off()

    # --- called by the service's connection --------------------------------------------------------------------

    def from_service(self, data: bytes) -> None:
        """Frames from the service."""
        for event in self._to_service.feed(data):
            if self._state is not _State.OPEN:
                return
            match event:
                case Message():
                    self._to_client.send_message(event)
                case Closed(code, reason):
                    self._close_both_sides(code, reason)
                case Failed():
                    self._close_both_sides(CloseCode.BAD_GATEWAY, "service failed")

    def service_lost(self) -> None:
        """The service's connection ended without a close frame."""
        self._close_both_sides(CloseCode.BAD_GATEWAY, "service failed")

    def service_slow(self, *, slow: bool) -> None:
        """The service reads more slowly than the client sends, or has caught up."""
        self._service_slow = slow
        self._adjust_flow()

    # --- opening -----------------------------------------------------------------------------------------------

    async def _open_socket(self) -> None:
        try:
            refusal = await self._ask_to_open()
        except StoreUnavailableError as error:
            refusal = Refusal(Reason.STORE_AWAY, note=str(error))
        except Exception:  # noqa: BLE001 - the border: every fault inside is one 500 outside
            _log.exception("a WebSocket could not be opened", extra={"request_id": self._request.request_id})
            refusal = Refusal(Reason.INTERNAL)
        if refusal is None or self._state is not _State.OPENING:
            return
        self._finish_socket()
        if isinstance(refusal, Refusal):
            self._client.refuse_request(refusal)
        else:
            self._client.write_now(refusal.render_response(self._request.request_id, self._sockets.ticker.date))
            self._client.finish_response(refusal.head.status)

    async def _ask_to_open(self) -> Refusal | Denial | None:
        entrance = self._sockets.entrance
        entry = await entrance.open_socket(self._request, self._route, self._origins, self._service)
        if isinstance(entry, Refusal):
            return entry
        claims, sockets = entry.admitted.claims, self._sockets
        if claims is not None:
            self._lease = await sockets.leases.take_lease(claims.principal.sub)
            if self._lease is None:
                return Refusal(Reason.TOO_MANY_SOCKETS, headers=(("Retry-After", "1"),))
        outcome = await ask_service(entry, sockets.sides, now=sockets.clock.now(), timeout_s=self._route.timeout_s)
        if not isinstance(outcome, Accepted):
            return outcome
        self._start_relay(outcome, claims)
        return None

    def _start_relay(self, opened: Accepted, claims: VerifiedClaims | None) -> None:
        sockets, side = self._sockets, opened.side
        if self._state is not _State.OPENING:
            side.abort()
            return
        self._side = side
        self._state = _State.OPEN
        opening = Opening(self._request, self._route)
        self._watch = sockets.open_tokens.watch(claims, self._token_ended, opening=opening)
        self._client.deadline = sockets.ticker.now + sockets.settings.ping_s
        own = f"X-Request-Id: {self._request.request_id}\r\nDate: {sockets.ticker.date}\r\n\r\n"
        self._client.switch_protocols(opened.lines + own.encode("ascii"))
        if self._state is _State.OPEN:
            side.start_relay(self, opened.rest)

    # --- open --------------------------------------------------------------------------------------------------

    def _from_client(self, event: Event) -> None:
        if self._state is not _State.OPEN:
            return
        match event:
            case Message(data, True) if data.startswith(RENEWAL):
                self._begin_renewal(data)
            case Message():
                self._to_service.send_message(event)
            case Closed(code, reason):
                self._close_both_sides(code, reason)
            case Failed():
                self._close_both_sides(CloseCode.GOING_AWAY)

    def _begin_renewal(self, data: bytes) -> None:
        if not self._task.done():
            self._close_both_sides(CloseCode.POLICY_VIOLATION, "one renewal at a time")
            return
        self._task = asyncio.get_running_loop().create_task(self._renew_token(data))

    async def _renew_token(self, data: bytes) -> None:
        """Go on with the new token, or close the socket of a client with a bad token."""
        token, watch = _renewal_token(data), self._watch
        if token is None or watch is None or watch.claims is None or watch.opening is None:
            self._close_both_sides(TOKEN_EXPIRED, "renewal refused")
            return
        entrance, path = self._sockets.entrance, self._request.path
        outcome = await entrance.renew_token(token, path, watch.opening.route, watch.claims)
        if self._state is not _State.OPEN:
            return
        if isinstance(outcome, Refusal) and outcome.reason is Reason.STORE_AWAY:
            self._send_to_client({"lockgate": "unavailable"})
        elif isinstance(outcome, Refusal):
            self._close_both_sides(TOKEN_EXPIRED, "renewal refused")
        else:
            watch.renew(outcome)
            self._send_to_client({"lockgate": "renewed", "expires_in": int(outcome.exp - self._sockets.clock.now())})

    def _send_to_client(self, words: dict[str, str | int]) -> None:
        self._to_client.send_message(Message(json.dumps(words, separators=(",", ":")).encode("ascii"), text=True))

    def _write_to_service(self, data: bytes) -> None:
        if self._side is not None:
            self._side.write(data)

    def _adjust_flow(self) -> None:
        if self._state is not _State.OPEN or self._side is None:
            return
        client_slow = self._slow_since is not None
        if client_slow:
            self._side.pause_reading()
        else:
            self._side.resume_reading()
        if client_slow or self._service_slow:
            self._client.pause_body()
        else:
            self._client.resume_body()

    # --- the end -----------------------------------------------------------------------------------------------

    def _token_ended(self, refusal: Refusal) -> None:
        """The token is no longer good, the rules are others, or the node stops."""
        self._close_both_sides(*_CODES.get(refusal.reason, _NOT_ALLOWED))

    def _close_both_sides(self, code: int, reason: str = "") -> None:
        """Send a close frame to both sides; a side that has closed gets none."""
        if self._state is _State.OPEN:
            self._to_client.send_close(code, reason)
            self._to_service.send_close(code, reason)
        self._finish_socket()

    def _break_off(self) -> None:
        """Break off a client that is gone or does not read, and cannot get a close frame."""
        self._to_service.send_close(CloseCode.GOING_AWAY)
        self._finish_socket()
        self._client.abort_response(Reason.REQUEST_TIMEOUT)

    def _finish_socket(self) -> None:
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSED
        if self._task is not asyncio.current_task():
            self._task.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._lease is not None:
            self._sockets.leases.release_lease(self._lease)
        if self._side is not None:
            self._side.await_close()
        self._client.end_upgraded()


def _renewal_token(data: bytes) -> str | None:
    """The token of `{"lockgate":"renew","token":"…"}`; `None` for anything else."""
    try:
        words = strict_json.loads(data, max_depth=1)
    except strict_json.StrictJsonError:
        return None
    if not isinstance(words, dict) or set(words) != {"lockgate", "token"} or words["lockgate"] != "renew":
        return None
    token = words["token"]
    return token if isinstance(token, str) else None
