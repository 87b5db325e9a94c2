"""What signs a user in for a service's own tests (R-310), on services behind the real middleware."""

from __future__ import annotations

import importlib
import time
import warnings
from typing import TYPE_CHECKING, Annotated, Any, Final

import httpx
import pytest
from fastapi import Depends, FastAPI, Request, WebSocket

from lockgate_trust import (
    MAX_DIGEST_BODY,
    Body,
    Caller,
    IdentityMiddleware,
    LinkKey,
    LinkKeys,
    Refused,
    SignatureRefused,
    Verified,
    caller_of,
    verify,
)
from lockgate_trust.testing import Fault, identity_headers, make_link_key, signed_in
from tests.support.links import NOW, TRACE, accepted, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY: Final = make_link_key("gateway", "orders")
USERS_KEY: Final = make_link_key("users", "orders")
KEYS: Final = LinkKeys.from_keys("orders", [KEY, USERS_KEY])


def caller(request: Request) -> Caller:
    return caller_of(request.scope)


Who = Annotated[Caller, Depends(caller)]


def told(caller: Caller) -> dict[str, Any]:
    return {
        "user": caller.user_id,
        "roles": sorted(caller.roles),
        "scopes": sorted(caller.scopes),
        "request": caller.request_id,
    }


class Orders:
    """A service behind the middleware, by a clock that stands still."""

    def __init__(self) -> None:
        self.refused: list[Refused] = []
        self.callers: list[Caller] = []
        self.app = FastAPI()
        self.app.add_api_route("/orders", self.read, methods=["GET"])
        self.app.add_api_route("/orders", self.write, methods=["POST"])
        self.app.add_api_websocket_route("/events", self.events)
        self.app.add_middleware(
            IdentityMiddleware,
            keys=KEYS,
            clock=lambda: NOW,
            on_refusal=lambda refused, _: self.refused.append(refused.reason),
        )

    async def read(self, who: Who) -> dict[str, Any]:
        self.callers.append(who)
        return told(who)

    async def write(self, who: Who, request: Request) -> dict[str, Any]:
        self.callers.append(who)
        return {"length": len(await request.body())}

    async def events(self, socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_json(told(caller_of(socket.scope)))
        await socket.close()


@pytest.fixture
def orders() -> Orders:
    return Orders()


def client_of(orders: Orders) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(orders.app), base_url="http://orders", follow_redirects=True)


def blocking_client_of(orders: Orders) -> Any:  # noqa: ANN401 - of Starlette
    with warnings.catch_warnings():
        # It would rather have httpx2.
        warnings.simplefilter("ignore")
        return importlib.import_module("starlette.testclient").TestClient(orders.app)


def by_clock(**claims: Any) -> dict[str, Any]:  # noqa: ANN401 - of any claims
    return {"key": KEY, "clock": lambda: NOW, **claims}


async def test_r310_a_client_over_asgi_is_signed_in(orders: Orders) -> None:
    async with signed_in(client_of(orders), **by_clock(user="u1", roles=["b", "a"], scopes=["s"])) as alice:
        answer = (await alice.get("/orders?page=2&q=%20")).json()
    assert {**answer, "request": ""} == {"user": "u1", "roles": ["a", "b"], "scopes": ["s"], "request": ""}


def test_r310_the_test_client_of_starlette_and_fastapi_is_signed_in(orders: Orders) -> None:
    client = blocking_client_of(orders)
    alice, bob = (signed_in(client, **by_clock(user=name)) for name in ("alice", "bob"))
    for name, signed in (("alice", alice), ("bob", bob), ("alice", alice)):
        assert signed.get("/orders").json()["user"] == name
    assert client.get("/orders").status_code == 401
    assert orders.refused == [Refused.MISSING]


def test_r310_a_handshake_of_a_websocket_is_signed(orders: Orders) -> None:
    client = blocking_client_of(orders)
    with signed_in(client, **by_clock(user="alice")).websocket_connect("/events?x=1") as socket:
        assert socket.receive_json()["user"] == "alice"


async def test_r310_the_request_that_a_redirect_leads_to_is_signed_anew(orders: Orders) -> None:
    async with signed_in(client_of(orders), **by_clock(user="alice")) as alice:
        answer = await alice.get("/orders/")
    assert [each.status_code for each in answer.history] == [307]
    assert answer.json()["user"] == "alice"


@pytest.mark.parametrize("size", [0, 1, MAX_DIGEST_BODY, MAX_DIGEST_BODY + 1])
async def test_r310_a_body_of_any_length_is_signed(orders: Orders, size: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(size // 2)
        yield bytes(size - size // 2)

    async with signed_in(client_of(orders), **by_clock(user="alice")) as alice:
        whole = await alice.post("/orders", content=bytes(size))
        parts = await alice.post("/orders", content=pieces())
        form = await alice.post("/orders", files={"file": ("name", bytes(size))})
    assert (whole.json(), parts.json()) == ({"length": size}, {"length": size})
    assert form.status_code == 200


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault.UNSIGNED, Refused.MISSING), (Fault.EXPIRED, Refused.EXPIRED), (Fault.FOREIGN, Refused.UNKNOWN_KEY)],
)
async def test_r310_a_service_can_test_its_own_401(orders: Orders, fault: Fault, reason: Refused) -> None:
    async with signed_in(client_of(orders), **by_clock(user="alice", fault=fault)) as mallory:
        answer = await mallory.post("/orders", json={"sku": "chair"})
    assert (answer.status_code, orders.refused, orders.callers) == (401, [reason], [])


async def test_a_request_without_a_user_is_anonymous(orders: Orders) -> None:
    async with signed_in(client_of(orders), **by_clock()) as client:
        assert (await client.get("/orders")).json()["user"] is None


async def test_every_claim_arrives(orders: Orders) -> None:
    claims = {"session_id": "s-1", "token_id": "t-1", "auth_time": 1_767_225_000, "traceparent": TRACE}
    async with signed_in(client_of(orders), **by_clock(user="Zo\u00eb", **claims)) as zoe:
        await zoe.get("/orders")
    [who] = orders.callers
    assert {name: getattr(who, name) for name in claims} == claims
    assert (who.user_id, who.service, who.on_behalf) == ("Zo\u00eb", "gateway", None)


async def test_a_key_of_another_origin_signs_on_the_users_behalf(orders: Orders) -> None:
    async with signed_in(client_of(orders), key=USERS_KEY, clock=lambda: NOW, user="alice") as users:
        await users.get("/orders")
    [who] = orders.callers
    assert (who.user_id, who.service, who.on_behalf) == ("alice", "users", "users")


async def test_a_request_id_and_a_trace_of_the_test_are_kept_and_an_identity_is_replaced(orders: Orders) -> None:
    own = {"x-request-id": "r-1", "traceparent": TRACE, "x-user-id": "root", "x-user-roles": "admin", "signature": "x"}
    async with signed_in(client_of(orders), **by_clock(user="alice")) as alice:
        answer = await alice.get("/orders", headers=own)
    assert answer.json() == {"user": "alice", "roles": [], "scopes": [], "request": "r-1"}
    assert orders.callers[0].traceparent == TRACE


async def test_hooks_of_the_client_still_run_and_the_client_itself_stays_as_it_was(orders: Orders) -> None:
    asked = []

    async def note(request: httpx.Request) -> None:
        asked.append(request.url.path)

    client = client_of(orders)
    client.event_hooks = {"request": [note]}
    async with client:
        assert (await signed_in(client, **by_clock(user="alice")).get("/orders")).status_code == 200
        assert (await client.get("/orders")).status_code == 401
    assert asked == ["/orders", "/orders"]


@pytest.mark.parametrize("body", [None, b"", b"x", Body.STREAMED])
def test_header_fields_for_any_other_client_are_those_of_the_gateway(body: Any) -> None:  # noqa: ANN401 - see `identity_headers`
    headers = identity_headers(KEY, method="PUT", path="/a", query="b", body=body, now=NOW, user="alice")
    verified = accepted(verify(KEYS, method="PUT", path="/a", query="b", headers=headers, now=NOW))
    assert verified.caller.user_id == "alice"
    assert verified.body is {None: Body.NONE, b"": Body.NONE, b"x": Body.DIGEST}.get(body, Body.STREAMED)


def test_each_request_has_a_signature_and_an_id_of_its_own() -> None:
    made = [dict(identity_headers(KEY, method="GET", path="/", now=NOW)) for _ in range(2)]
    assert made[0]["signature"] != made[1]["signature"]
    assert made[0]["x-request-id"] != made[1]["x-request-id"]


def test_without_a_clock_a_request_is_signed_now() -> None:
    headers = identity_headers(KEY, method="GET", path="/")
    assert isinstance(verify(KEYS, method="GET", path="/", query="", headers=headers, now=time.time()), Verified)


def test_a_foreign_key_is_not_told_apart_by_its_id() -> None:
    headers = identity_headers(KEY, method="GET", path="/", now=NOW, fault=Fault.FOREIGN)
    outcome = verify(KEYS, method="GET", path="/", query="", headers=headers, now=NOW)
    assert isinstance(outcome, SignatureRefused)
    assert refusal(outcome) is Refused.UNKNOWN_KEY


def test_a_key_in_memory_is_one_of_a_link() -> None:
    assert (KEY.origin, KEY.target, len(KEY.secret)) == ("gateway", "orders", 32)
    assert make_link_key("gateway", "orders") != KEY
    assert isinstance(KEY, LinkKey)
