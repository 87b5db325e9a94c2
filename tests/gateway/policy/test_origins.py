"""Whose pages may do what: the tables of CORS (R-182) and of requests with a cookie (R-181)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.edge.headers import examine
from gateway.edge.request import InboundRequest
from gateway.errors import Reason, Refusal
from gateway.policy.origins import Origins
from gateway.policy.routes import RouteTable
from gateway.settings import LimitSettings, Settings

SHOP = "https://shop.example"
PARTNER = "https://partner.example"
UPSTREAM = ["http://127.0.0.1:1"]
ROUTES: list[dict[str, Any]] = [
    {"name": "orders", "prefix": "/orders", "upstreams": UPSTREAM, "methods": ["GET", "POST"]},
    {"name": "partner", "prefix": "/partner", "upstreams": UPSTREAM, "allowed_origins": [PARTNER]},
]
UNLISTED = (
    "null",
    "*",
    "http://shop.example",
    "https://shop.example:444",
    "https://shop.example:443",
    "https://shop.example.evil.example",
    "https://evilshop.example",
    "https://SHOP.example",
    "https://shop.example/",
    "https://shop.example, https://evil.example",
    "",
)


def origins(*, cookies: str = "secure", allowed: tuple[str, ...] = (SHOP,)) -> Origins:
    server = {"allowed_origins": list(allowed), "session_cookie": cookies}
    settings = Settings(server=server, route=ROUTES)  # type: ignore[arg-type]  # as in the file
    return Origins(RouteTable.compile(settings), settings)


def request(method: str = "POST", path: str = "/auth/logout", fields: str = "", scheme: str = "http") -> InboundRequest:
    facts = examine(f"Host: gate.example\r\n{fields}".encode(), LimitSettings())
    return InboundRequest(method, path, None, True, facts.host, facts, "192.0.2.1", scheme, "0" * 32, "0" * 32)  # noqa: FBT003 - HTTP/1.1


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ("Sec-Fetch-Site: same-origin\r\n", "http"),
        # Behind a proxy that ends TLS and is not a trusted one, the gateway does not know its own scheme.
        ("Sec-Fetch-Site: same-origin\r\nOrigin: https://gate.example\r\n", "http"),
        ("Origin: http://gate.example\r\n", "http"),
        ("Origin: https://gate.example\r\n", "https"),
        (f"Origin: {SHOP}\r\n", "http"),
        (f"Origin: {SHOP}\r\nSec-Fetch-Site: same-site\r\n", "http"),
        (f"Origin: {SHOP}\r\nSec-Fetch-Site: cross-site\r\n", "http"),
    ],
)
def test_a_page_of_the_gateways_own_or_of_a_listed_origin_may_change_something(fields: str, scheme: str) -> None:
    """R-181."""
    assert origins().cross_site(request(fields=fields, scheme=scheme)) is None


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "Sec-Fetch-Site: none\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: SAME-ORIGIN\r\n",
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-origin, cross-site\r\n",
        "Sec-Fetch-Site:\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: http://gate.example\r\n",
        "Origin: https://gate.example\r\n",
        "Origin: http://gate.example:80\r\n",
        f"Origin: {SHOP}\r\nOrigin: {SHOP}\r\n",
        f"Referer: {SHOP}/\r\n",
        *(f"Origin: {origin}\r\n" for origin in UNLISTED),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_whatever_else_may_not(method: str, fields: str) -> None:
    """R-181: what shows neither a listed origin nor the gateway's own is refused, silence included."""
    assert origins().cross_site(request(method, fields=fields)) == Refusal(Reason.CROSS_SITE)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_may_come_from_anywhere(method: str) -> None:
    assert origins().cross_site(request(method, fields="Sec-Fetch-Site: cross-site\r\n")) is None


def test_a_route_has_its_own_list_for_cookies_too() -> None:
    for path, page, allowed in (
        ("/orders", SHOP, True),
        ("/orders", PARTNER, False),
        ("/partner/x", PARTNER, True),
        ("/partner/x", SHOP, False),
        ("/auth/login", PARTNER, False),
    ):
        refusal = origins().cross_site(request(path=path, fields=f"Origin: {page}\r\n"))
        assert (refusal is None) is allowed, (path, page)


def lines(text: str) -> dict[str, str]:
    """The field lines, each of which is there once."""
    pairs = [line.partition(": ")[::2] for line in text.split("\r\n") if line]
    assert text == "".join(f"{name}: {value}\r\n" for name, value in pairs)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("path", ["/orders", "/auth/me", "/nowhere"])
def test_a_page_of_a_listed_origin_may_read_answers(path: str) -> None:
    """R-182: the origin to the letter, never `*`."""
    assert lines(origins().cors(request(path=path, fields=f"Origin: {SHOP}\r\n"))) == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": SHOP,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": (
            "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-Id"
        ),
    }


@pytest.mark.parametrize("origin", [*UNLISTED, PARTNER, "http://gate.example"])
def test_any_other_page_may_not_and_caches_are_told_that_it_depends(origin: str) -> None:
    """R-182."""
    assert origins().cors(request(path="/orders", fields=f"Origin: {origin}\r\n")) == "Vary: Origin\r\n"
    assert origins().vary == "Vary: Origin\r\n"


def test_without_cookies_no_page_may_send_credentials_of_the_browsers() -> None:
    told = lines(origins(cookies="off").cors(request(fields=f"Origin: {SHOP}\r\n")))
    assert told["Access-Control-Allow-Origin"] == SHOP
    assert "Access-Control-Allow-Credentials" not in told


def test_a_list_of_one_route_is_enough_for_answers_to_differ() -> None:
    assert origins(allowed=()).vary == "Vary: Origin\r\n"


def test_the_public_keys_say_by_themselves_that_everybody_may_read_them() -> None:
    assert origins().cors(request("GET", "/.well-known/jwks.json", f"Origin: {SHOP}\r\n")) == "Vary: Origin\r\n"


def preflight(path: str, origin: str, asked: str = "POST", headers: str | None = None) -> str | Refusal | None:
    wanted = "" if headers is None else f"Access-Control-Request-Headers: {headers}\r\n"
    fields = f"Origin: {origin}\r\nAccess-Control-Request-Method: {asked}\r\n{wanted}"
    return origins().preflight(request("OPTIONS", path, fields))


@pytest.mark.parametrize(
    ("path", "origin", "methods"),
    [
        ("/orders/17", SHOP, "GET, POST"),
        ("/partner", PARTNER, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
        ("/auth/login", SHOP, "DELETE, GET, HEAD, PATCH, POST, PUT"),
    ],
)
def test_a_browser_that_asks_first_is_told_what_the_route_takes(path: str, origin: str, methods: str) -> None:
    """R-182."""
    answer = preflight(path, origin, headers="Content-Type, X-Idempotency-Key")
    assert isinstance(answer, str)
    assert lines(answer) == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": "content-type, x-idempotency-key",
        "Access-Control-Max-Age": "600",
    }


def test_fields_that_no_client_may_set_are_not_granted() -> None:
    """R-50: nor what is no name at all, nor more of them than anybody needs."""
    answer = preflight("/orders", SHOP, headers='authorization,X-User-Id, signature,a b,"x", x-forwarded-for, if-match')
    assert isinstance(answer, str)
    assert lines(answer)["Access-Control-Allow-Headers"] == "authorization, if-match"
    many = preflight("/orders", SHOP, headers=",".join(f"x-{number}" for number in range(100)))
    assert isinstance(many, str)
    assert len(many) < 1024


@pytest.mark.parametrize(
    ("path", "origin", "reason"),
    [
        *(("/orders", origin, Reason.ORIGIN_REFUSED) for origin in UNLISTED),
        ("/partner", SHOP, Reason.ORIGIN_REFUSED),
        ("/auth/login", PARTNER, Reason.ORIGIN_REFUSED),
        ("/nowhere", SHOP, Reason.NO_ROUTE),
        ("/internal/accounts", SHOP, Reason.NO_ROUTE),
    ],
)
def test_a_browser_that_asks_for_another_page_is_refused(path: str, origin: str, reason: Reason) -> None:
    assert preflight(path, origin) == Refusal(reason)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("OPTIONS", f"Origin: {SHOP}\r\n"),
        ("OPTIONS", "Access-Control-Request-Method: POST\r\n"),
        ("POST", f"Origin: {SHOP}\r\nAccess-Control-Request-Method: POST\r\n"),
    ],
)
def test_what_is_no_preflight_is_a_request_like_any_other(method: str, fields: str) -> None:
    assert origins().preflight(request(method, "/orders", fields)) is None
