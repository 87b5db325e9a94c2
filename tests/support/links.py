"""Requests as a service receives them, and the keys of a small world: gateway → orders → products."""

import hmac
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from lockgate_trust import (
    Body,
    LinkKey,
    LinkKeys,
    Refused,
    SignatureRefused,
    Signer,
    Verified,
    cover,
    signed_headers,
    token_headers,
    verify,
)
from lockgate_trust.headers import REQUEST_ID, SIGNATURE, SIGNATURE_INPUT, TRACEPARENT

NOW = 1_767_225_600.0
REQUEST = "0198c1a2-7f7e-7abc-8def-001122334466"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

GATEWAY_TO_ORDERS = LinkKey("gateway.orders.3fa9c2d1", "gateway", "orders", bytes(range(32)))
USERS_TO_ORDERS = LinkKey("users.orders.77aa0b1c", "users", "orders", bytes(range(1, 33)))
ORDERS_TO_PRODUCTS = LinkKey("orders.products.9d1e22f0", "orders", "products", bytes(range(2, 34)))

ORDERS_KEYS = LinkKeys.from_keys("orders", [GATEWAY_TO_ORDERS, USERS_TO_ORDERS, ORDERS_TO_PRODUCTS])
PRODUCTS_KEYS = LinkKeys.from_keys("products", [ORDERS_TO_PRODUCTS])

ALICE = token_headers(
    user_id="alice",
    roles=frozenset({"customer", "reviewer"}),
    scopes=frozenset({"orders:read", "orders:write"}),
    session_id="s-1",
    token_id="t-1",
    auth_time=1_767_225_000,
)
IDENTITY = ((REQUEST_ID, REQUEST), (TRACEPARENT, TRACE), *ALICE)

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Received:
    """A request as it arrives."""

    method: str
    path: str
    query: str
    headers: Headers

    def verified(self, keys: LinkKeys = ORDERS_KEYS, now: float = NOW) -> Verified | SignatureRefused:
        return verify(keys, method=self.method, path=self.path, query=self.query, headers=self.headers, now=now)

    def plus(self, name: str, value: str) -> "Received":
        return replace(self, headers=(*self.headers, (name, value)))

    def without(self, name: str) -> "Received":
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] != name))

    def value(self, name: str) -> str:
        return dict(self.headers)[name]

    def altered(self, name: str, change: Callable[[str], str]) -> "Received":
        return replace(
            self, headers=tuple((key, change(value) if key == name else value) for key, value in self.headers)
        )


def signed(  # noqa: PLR0913 - the parts of a request, all by name
    *,
    key: LinkKey = GATEWAY_TO_ORDERS,
    method: str = "GET",
    path: str = "/orders/42",
    query: str = "page=2",
    headers: Headers = IDENTITY,
    body: bytes | Literal[Body.STREAMED] | None = None,
    now: float = NOW,
) -> Received:
    added = signed_headers(key, method=method, path=path, query=query, headers=headers, body=body, now=now)
    return Received(method, path, query, (("host", "orders"), *added))


def signed_whatever(
    headers: Headers = (),
    body: Body = Body.NONE,
    *,
    method: str = "GET",
    key: LinkKey = GATEWAY_TO_ORDERS,
    now: float = NOW,
) -> Received:
    """A request rightly signed by the gateway over token headers that `token_headers` would not have made."""
    covered = cover(headers)
    signature_input, signature = Signer(key).sign(
        method=method,
        path="/orders",
        query="",
        request_id=REQUEST,
        traceparent=None,
        covered=covered,
        content_digest=None,
        body=body,
        now=now,
    )
    all_headers = ((REQUEST_ID, REQUEST), *headers, (SIGNATURE_INPUT, signature_input), (SIGNATURE, signature))
    return Received(method, "/orders", "", all_headers)


def signature_over(base: str, secret: bytes) -> str:
    """The value of ``Signature`` for a signature base, by the standard library."""
    return f"lockgate=:{b64encode(hmac.digest(secret, base.encode(), 'sha256')).decode()}:"


def accepted(outcome: Verified | SignatureRefused) -> Verified:
    assert isinstance(outcome, Verified), outcome
    return outcome


def refusal(outcome: Verified | SignatureRefused) -> Refused:
    assert isinstance(outcome, SignatureRefused), outcome
    return outcome.reason
