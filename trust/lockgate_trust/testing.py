"""Signs a user in for a service's own tests, in place of the gateway.

A test makes a link key in memory, gives it to the service, and signs with it what the gateway would sign::

    KEY = make_link_key("gateway", "orders")
    app = create_app(LinkKeys.from_keys("orders", [KEY]))
    alice = signed_in(TestClient(app), key=KEY, user="alice", scopes=["orders:read"])
    assert alice.get("/orders").status_code == 200

`signed_in` takes a client of httpx, also one with an `ASGITransport`, and the `TestClient` of Starlette and FastAPI.
`identity_headers` makes the header fields of one request, for any other client. Nothing here imports httpx, so a
service that is tested otherwise does not need it.
"""

import copy
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from enum import StrEnum, unique
from typing import Any, Final, Literal, Protocol, TypedDict, TypeVar, Unpack

from lockgate_trust.caller import token_headers
from lockgate_trust.headers import CONTENT_DIGEST, IDENTITY_HEADERS, REQUEST_ID, SIGNATURE, SIGNATURE_INPUT, TRACEPARENT
from lockgate_trust.keys import LinkKey, make_link_key
from lockgate_trust.profile import Body
from lockgate_trust.signature import signed_headers

__all__ = ["Claims", "Fault", "identity_headers", "make_link_key", "signed_in"]

LONG_AGO_S: Final = 3600
"""How old an expired signature is: longer than any leeway of a service's clock."""

_GATEWAY: Final = "gateway"
_PROOF: Final = frozenset({CONTENT_DIGEST, SIGNATURE_INPUT, SIGNATURE})
_GATEWAYS_OWN: Final = (*IDENTITY_HEADERS, *_PROOF)


@unique
class Fault(StrEnum):
    """What is wrong with the identity of a request that a service has to refuse with 401."""

    UNSIGNED = "unsigned"
    """The identity header fields are there, and no signature: a request that went past the gateway."""
    EXPIRED = "expired"
    """The signature was made an hour ago."""
    FOREIGN = "foreign"
    """The signature is by the key of a link to another service."""


class Claims(TypedDict, total=False):
    """What a signed request says of its user; without `user` it is anonymous.

    Attributes:
        user: the user's id.
        roles: the user's roles.
        scopes: what the user's token allows.
        session_id: the session of the token.
        token_id: the `jti` of the token.
        auth_time: when the user last authenticated, in seconds since the epoch.
        traceparent: the W3C trace context.
    """

    user: str | None
    roles: Iterable[str]
    scopes: Iterable[str]
    session_id: str
    token_id: str
    auth_time: int
    traceparent: str


def identity_headers(  # noqa: PLR0913 - what the profile covers, all by name
    key: LinkKey,
    *,
    method: str,
    path: str,
    query: str = "",
    body: bytes | Literal[Body.STREAMED] | None = None,
    request_id: str | None = None,
    now: float | None = None,
    fault: Fault | None = None,
    **claims: Unpack[Claims],
) -> list[tuple[str, str]]:
    """The header fields that one request gets from the gateway, or from the service that the key belongs to.

    Args:
        key: of the link to the service under test. A key of another origin than the gateway makes the request one that
            this origin sends on the user's behalf.
        method: as sent.
        path: the raw path as sent.
        query: what follows the ``?``.
        body: the whole body; None or empty where the request has none; `Body.STREAMED` where it is not covered.
        request_id: value of ``x-request-id``; a fresh one by default.
        now: when it is signed, in seconds since the epoch; the machine's time by default.
        fault: what to do wrong.
        claims: the user; `Claims` names them.

    Raises:
        ValueError: as `lockgate_trust.signed_headers` and `lockgate_trust.token_headers`.
    """
    trace = claims.get("traceparent")
    identity = [
        (REQUEST_ID, request_id or secrets.token_hex(16)),
        *([] if trace is None else [(TRACEPARENT, trace)]),
        *token_headers(
            user_id=claims.get("user"),
            roles=frozenset(claims.get("roles", ())),
            scopes=frozenset(claims.get("scopes", ())),
            session_id=claims.get("session_id"),
            token_id=claims.get("token_id"),
            auth_time=claims.get("auth_time"),
            on_behalf=None if key.origin == _GATEWAY else key.origin,
        ),
    ]
    now = time.time() if now is None else now
    signed = signed_headers(
        make_link_key(key.origin, f"not-{key.target}") if fault is Fault.FOREIGN else key,
        method=method,
        path=path,
        query=query,
        headers=identity,
        body=body,
        now=now - LONG_AGO_S if fault is Fault.EXPIRED else now,
    )
    return [field for field in signed if fault is not Fault.UNSIGNED or field[0] not in _PROOF]


class _Hooked(Protocol):
    """A client of httpx, of httpx2, or of a test framework on top of one of them; blocking or not."""

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]: ...

    @event_hooks.setter
    def event_hooks(self, event_hooks: dict[str, list[Callable[..., Any]]]) -> None: ...


class _Url(Protocol):
    @property
    def raw_path(self) -> bytes: ...


class _Request(Protocol):
    """A request of httpx, or of httpx2."""

    method: str
    headers: MutableMapping[str, str]

    @property
    def url(self) -> _Url: ...

    def read(self) -> bytes: ...

    def aread(self) -> Awaitable[bytes]: ...


Client = TypeVar("Client", bound=_Hooked)


def signed_in(
    client: Client,
    *,
    key: LinkKey,
    clock: Callable[[], float] = time.time,
    fault: Fault | None = None,
    **claims: Unpack[Claims],
) -> Client:
    """A twin of a client that signs each request, redirects and WebSocket handshakes included, as the gateway does.

    The twin shares application, connections and cookies with the client, and leaves the client itself as it was: one
    test can have a client for each of its users. A request id and a trace context that the test sets are kept; every
    other field of the gateway's own is replaced. The body is read as a whole before it is sent.

    Args:
        client: of httpx (`Client`, `AsyncClient`), or of Starlette and FastAPI (`TestClient`).
        key: of the link to the service under test.
        clock: seconds since the epoch, as the service counts them.
        fault: what to do wrong, for the tests of the service's own 401.
        claims: the user; `Claims` names them.
    """

    def sign(request: _Request, body: bytes) -> None:
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        kept = {name: request.headers[name] for name in (REQUEST_ID, TRACEPARENT) if name in request.headers}
        said: Claims = {**claims, "traceparent": kept[TRACEPARENT]} if TRACEPARENT in kept else claims
        for name in _GATEWAYS_OWN:
            request.headers.pop(name, None)
        # A body of no bytes that comes in chunks is a body.
        chunked = not body and "transfer-encoding" in request.headers
        request.headers.update(
            identity_headers(
                key,
                method=request.method,
                path=path,
                query=query,
                body=Body.STREAMED if chunked else body,
                request_id=kept.get(REQUEST_ID),
                now=clock(),
                fault=fault,
                **said,
            )
        )

    def sign_blocking(request: _Request) -> None:
        sign(request, request.read())

    async def sign_async(request: _Request) -> None:
        sign(request, await request.aread())

    twin = copy.copy(client)
    # A hook and no `auth`: httpx calls hooks for each request that a redirect leads to, too.
    hook = sign_async if inspect.iscoroutinefunction(getattr(client, "send", None)) else sign_blocking
    twin.event_hooks = {**client.event_hooks, "request": [*client.event_hooks["request"], hook]}
    return twin
