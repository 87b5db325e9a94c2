"""Gateways and services of the version before bodies were told of, beside those of this one: a rolling upgrade.

The sets below were signed by that version, with the key and the identity of `tests.support.links`. Its verifier took
any nonce of `OLD_NONCE`, and what this one signs still is of that form.
"""

import re

import pytest

from lockgate_trust import Body, IdentityMiddleware, Refused, content_digest, known_caller
from lockgate_trust.asgi import Message, Receive, Scope, Send
from tests.support.links import IDENTITY, NOW, ORDERS_KEYS, Received, accepted, signed, signed_whatever
from tests.support.trust_world import World

OLD_NONCE = re.compile(r';nonce="[A-Za-z0-9_-]{8,64}";keyid=')
TARGET, SOCKET = ("/orders/42", "page=2"), ("/orders/events", "page=2")
NAMES = " ".join(f'"{name}"' for name, _ in IDENTITY)


def by_old_gateway(
    method: str, target: tuple[str, str], nonce: str, signature: str, digest: str | None = None
) -> Received:
    """A request as a gateway of the version before sent it."""
    covered = NAMES if digest is None else f'{NAMES} "content-digest"'
    claim = (
        f'lockgate=("@method" "@path" "@query" {covered});created={int(NOW)};expires={int(NOW) + 10}'
        f';nonce="{nonce}";keyid="gateway.orders.3fa9c2d1";tag="lockgate-identity"'
    )
    sent = () if digest is None else (("content-digest", digest),)
    return Received(
        method, *target, (*IDENTITY, *sent, ("signature-input", claim), ("signature", f"lockgate=:{signature}:"))
    )


BODY = b'{"sku": "chair"}'
GET = by_old_gateway("GET", TARGET, "e7d6ca1d1cc9468c0", "6ovs/6FeGkm7U6gESNWdEzi4VWHR9amUrrtTaC6tFes=")
POST = by_old_gateway(
    "POST", TARGET, "e7d6ca1d1cc9468c1", "jpE14vvYTqGgtfz8B6PHx0oStPuZOYGn9lMDJRvLROY=", content_digest(BODY)
)
UPLOAD = by_old_gateway("PUT", TARGET, "e7d6ca1d1cc9468c2", "TkOo/A7Vg1sGAM9YG2JWzPflyvqswgEDLB66VrfL8ZI=")
HANDSHAKE = by_old_gateway("GET", SOCKET, "e7d6ca1d1cc9468c3", "j9SHpea8qBEaI3LFQN8H/RB612rCab8V1zS+PpSAeAE=")


async def test_requests_of_an_old_gateway_are_served() -> None:
    world = World()
    assert (await world.send(GET)).status_code == 200
    assert (await world.send(POST, BODY)).status_code == 200
    assert world.app.bodies == [b"", BODY]
    assert accepted(HANDSHAKE.verified()).body is Body.UNSAID


async def test_an_upload_that_an_old_gateway_streamed_is_refused() -> None:
    """It looks like a set without a body that was given one; docs/decisions/0126 says in which order to upgrade."""
    world = World()
    assert (await world.send(UPLOAD, bytes(65_537))).status_code == 401
    assert world.reason is Refused.NOT_COVERED
    world.assert_untouched()


async def test_behind_a_proxy_bodies_that_an_old_gateway_did_not_see_are_served() -> None:
    reached = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        reached.append(known_caller(scope))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"hello", "more_body": False}

    async def send(message: Message) -> None:
        assert message["status"] == 200

    headers = [(name.encode(), value.encode()) for name, value in (*UPLOAD.headers, ("content-length", "5"))]
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/orders/42",
        "raw_path": b"/orders/42",
        "query_string": b"page=2",
        "headers": headers,
    }
    guard = IdentityMiddleware(app, keys=ORDERS_KEYS, clock=lambda: NOW, short_bodies_covered=False)
    await guard(scope, receive, send)
    assert len(reached) == 1


@pytest.mark.parametrize(
    "request_",
    [signed(), signed(body=b"x"), signed(body=Body.STREAMED), signed_whatever(body=Body.UNSEEN)],
    ids=["none", "digest", "streamed", "unseen"],
)
def test_what_this_version_signs_is_of_the_form_that_the_version_before_takes(request_: Received) -> None:
    assert OLD_NONCE.search(request_.value("signature-input"))
    # That version refused a digest on a handshake, and looked for no other field.
    assert {name for name, _ in request_.headers} - {"host", "content-digest"} <= {
        *(name for name, _ in IDENTITY),
        "signature",
        "signature-input",
    }
