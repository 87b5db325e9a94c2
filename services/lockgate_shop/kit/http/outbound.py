"""Calls to another service, signed with the key of the link to it, in the course of a user's request.

What a service may call is a table of `Call`s; what is not in it is not sent.
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx

from lockgate_common.call_limiter import CallLimiter, QueueFullError
from lockgate_shop.kit.errors import OutcomeUnknownError, UpstreamAwayError
from lockgate_trust import LinkKeys, signed_headers

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from lockgate_shop.kit.clock import Clock
    from lockgate_trust import Caller

TIMEOUT: Final = httpx.Timeout(3, connect=1)
"""A call and the call that takes it back have to fit into what the gateway waits, 10 s."""
AT_ONCE: Final = 32
QUEUE_WAIT_S: Final = 1.0
"""How long a call waits for its turn."""
LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=AT_ONCE, keepalive_expiry=30)
"""Turns are what bounds it: its own queue is not fair, and costs the event loop more the longer it is."""
MAX_ANSWER: Final = 1024 * 1024
_TRIES: Final = 2
_SERVER_ERROR: Final = 500
_NO_AUTHORITY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no certificate, for addresses without TLS: to read the certificates that httpx trusts takes longer than the
rest of a start."""


@dataclass(frozen=True, slots=True)
class Call:
    """One kind of call, as a row of the table of what a service may call.

    Attributes:
        path: as it goes over the wire, without a query; `{name}` stands for a segment that is a UUID.
        idempotent: whether the same call may be made a second time after a connection that failed.
    """

    method: str
    path: str
    idempotent: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """The other service's response: its decision, for or against.

    Attributes:
        status: 200 to 499.
        body: the JSON in it; None where there is none.
    """

    status: int
    body: Any

    @property
    def code(self) -> str | None:
        """The `code` of a problem response."""
        code = self.body.get("code") if isinstance(self.body, dict) else None
        return code if isinstance(code, str) else None


class ServiceClient:
    """Calls one other service in this service's name, on behalf of the user that made the request.

    Args:
        target: the name of the other service.
        base_url: `http://host:port` or `https://host:port` of it, and nothing more.
        calls: what may be called there.
        keys: this service's link keys.

    Raises:
        LinkKeyError: there is no link to `target`.
    """

    def __init__(self, target: str, base_url: str, *, calls: Collection[Call], keys: LinkKeys, clock: Clock) -> None:
        self._target = target
        self._calls = frozenset(calls)
        self._me = keys.me
        self._keys = keys
        keys.outbound(target)  # known to be there before the first call
        self._clock = clock
        # Proxies of the environment are not for calls between services: trust_env.
        verify = base_url.startswith("https:") or _NO_AUTHORITY
        self._http = httpx.AsyncClient(
            base_url=base_url, timeout=TIMEOUT, limits=LIMITS, trust_env=False, verify=verify
        )
        self._limiter = CallLimiter(at_once=AT_ONCE, wait_s=QUEUE_WAIT_S)

    async def call(self, caller: Caller, call: Call, body: object = None, **segments: UUID) -> Reply:
        """Make one call.

        Args:
            caller: of the request that this call serves. The user's identity, request id and trace go along.
            call: a row of this client's table.
            body: what to send as JSON; None for no body.
            segments: what to put for the names in the path.

        Raises:
            RuntimeError: the table does not have this call.
            UpstreamAwayError: it was not reached, or too many calls wait for their turn.
            OutcomeUnknownError: it was reached, and its response does not say what happened.
        """
        if call not in self._calls:
            raise RuntimeError(f"{self._me} may not call {call.method} {call.path} of {self._target}")
        path = call.path.format_map(segments)
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        for left in reversed(range(_TRIES if call.idempotent else 1)):
            try:
                answer = await self._in_turn(caller, call.method, path, content)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if not left:
                    raise UpstreamAwayError(self._describe_error(error)) from error
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                # A kept connection that the other side closed looks like this.
                if not left:
                    raise OutcomeUnknownError(self._describe_error(error)) from error
            except httpx.HTTPError as error:
                raise OutcomeUnknownError(self._describe_error(error)) from error
            else:
                return self._parse_reply(answer)
        raise RuntimeError("a call is tried at least once")

    async def close(self) -> None:
        """Give up what is under way, and close every connection."""
        await self._limiter.close()
        await self._http.aclose()

    async def _in_turn(self, caller: Caller, method: str, path: str, content: bytes) -> httpx.Response:
        try:
            return await self._limiter.run(partial(self._send_signed, caller, method, path, content))
        except QueueFullError:
            raise UpstreamAwayError(f"{self._target}: too many calls are waiting") from None

    async def _send_signed(self, caller: Caller, method: str, path: str, content: bytes) -> httpx.Response:
        return await self._http.send(self._signed_request(caller, method, path, content))

    def _signed_request(self, caller: Caller, method: str, path: str, content: bytes) -> httpx.Request:
        # Signed anew for each try, because a signature passes once.
        headers = signed_headers(
            self._keys.outbound(self._target),
            method=method,
            path=path,
            headers=caller.forwarded_by(self._me),
            body=content or None,
            now=self._clock(),
        )
        if content:
            headers.append(("content-type", "application/json"))
        return self._http.build_request(method, path, headers=headers, content=content)

    def _parse_reply(self, answer: httpx.Response) -> Reply:
        if answer.status_code >= _SERVER_ERROR or len(answer.content) > MAX_ANSWER:
            raise OutcomeUnknownError(f"{self._target} answered {answer.status_code}")
        if not answer.content:
            return Reply(answer.status_code, None)
        try:
            return Reply(answer.status_code, answer.json())
        except ValueError as error:
            raise OutcomeUnknownError(f"{self._target} answered no JSON") from error

    def _describe_error(self, error: Exception) -> str:
        return f"{self._target}: {type(error).__name__}"
