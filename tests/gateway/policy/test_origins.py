"""The rights of pages: the tables of CORS (R-182) and of requests with a cookie (R-181)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lockgate.edge.connection import RefusedHead
from lockgate.edge.headers import examine_fields
from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason, Refusal
from lockgate.policy.origins import EXPOSED, Origins
from lockgate.policy.routes import RouteTable
from lockgate.route_settings import RouteSettings
from lockgate.settings import LimitSettings, Settings

SHOP = "https://shop.example"
PARTNER = "https://partner.example"
ITSELF = "https://gate.example"
UPSTREAM = ["http://127.0.0.1:1"]
ROUTES: list[dict[str, Any]] = [
    {"name": "orders", "prefix": "/orders", "upstreams": UPSTREAM, "methods": ["GET", "POST"]},
    {"name": "partner", "prefix": "/partner", "upstreams": UPSTREAM, "allowed_origins": [PARTNER]}
    | {"expose_headers": ["X-Total-Count"], "preflight_age_s": 7200},
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
    settings = Settings(server=server, route=ROUTES, token={"issuer": f"{ITSELF}/tenant"})  # type: ignore[arg-type]  # as in the file
    return Origins(RouteTable.from_settings(settings), settings)


def request(
    method: str = "POST", path: str = "/auth/logout", fields: str = "", host: str = "gate.example"
) -> InboundRequest:
    facts, authorization = examine_fields(f"Host: {host}\r\n{fields}".encode(), LimitSettings())
    given = InboundRequest(method, path, None, True, facts.host, facts, "192.0.2.1", "http", "0" * 32, "0" * 32)  # noqa: FBT003 - HTTP/1.1
    return given._replace(authorization=authorization)


@pytest.mark.parametrize("host", ["gate.example", "gate.example:443", "gateway:8080", "10.0.0.7"])
@pytest.mark.parametrize(
    "fields",
    [
        "Sec-Fetch-Site: same-origin\r\n",
        # Reached by another name than its public one, it cannot know its origin; the browser does.
        "Sec-Fetch-Site: same-origin\r\nOrigin: http://gateway:8080\r\n",
        f"Origin: {ITSELF}\r\n",
        f"Origin: {ITSELF}\r\nX-Forwarded-Host: gate.example\r\n",
        f"Origin: {SHOP}\r\n",
        f"Origin: {SHOP}\r\nSec-Fetch-Site: same-site\r\n",
        f"Origin: {SHOP}\r\nSec-Fetch-Site: cross-site\r\n",
    ],
)
def test_a_page_of_the_gateways_own_or_of_a_listed_origin_may_change_something(fields: str, host: str) -> None:
    """R-181, R-205, R-211: for every Host that a front proxy sends; the own origin is that of the public address."""
    assert origins().refuse_cross_site(request(fields=fields, host=host)) is None


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost", False),
        ("http://localhost:5173", False),
        ("https://localhost:8080", False),
        ("http://localhost.evil.example:8080", False),
    ],
)
@pytest.mark.parametrize("issuer", ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080"])
def test_where_only_this_machine_reaches_it_each_name_of_the_machine_is_its_own(
    issuer: str, origin: str, *, allowed: bool
) -> None:
    """R-211: `lockgate dev` is opened by either name. With cookies for https there is one origin of one's own."""
    for cookies, expected in (("localhost", allowed), ("secure", origin == issuer)):
        settings = Settings(server={"session_cookie": cookies}, token={"issuer": issuer})  # type: ignore[arg-type]  # as in the file
        asked = request(fields=f"Origin: {origin}\r\n", host="localhost:8080")
        refusal = Origins(RouteTable.from_settings(settings), settings).refuse_cross_site(asked)
        assert (refusal is None) is expected


@pytest.mark.parametrize("host", ["evil.example", "gate.example.evil.example"])
@pytest.mark.parametrize("more", ["", "X-Forwarded-Host: evil.example\r\n", "Forwarded: host=evil.example\r\n"])
def test_a_page_of_a_foreign_host_does_not_become_the_gateways_own_by_naming_it(host: str, more: str) -> None:
    """R-181, R-226: a name that was pointed at the gateway (DNS rebinding) is in Host and in Origin alike."""
    for scheme in ("http", "https"):
        asked = request(fields=f"Origin: {scheme}://{host}\r\n{more}", host=host)
        assert origins().refuse_cross_site(asked) == Refusal(Reason.CROSS_SITE)


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
        f"Sec-Fetch-Site: cross-site\r\nOrigin: {ITSELF}\r\n",
        "Origin: http://gate.example\r\n",
        "Origin: https://gate.example:443\r\n",
        f"Origin: {SHOP}\r\nOrigin: {SHOP}\r\n",
        f"Referer: {SHOP}/\r\n",
        *(f"Origin: {origin}\r\n" for origin in UNLISTED),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_whatever_else_may_not(method: str, fields: str) -> None:
    """R-181: what shows neither a listed origin nor the gateway's own is refused, silence included."""
    assert origins().refuse_cross_site(request(method, fields=fields)) == Refusal(Reason.CROSS_SITE)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_may_come_from_anywhere(method: str) -> None:
    assert origins().refuse_cross_site(request(method, fields="Sec-Fetch-Site: cross-site\r\n")) is None


def test_a_route_has_its_own_list_for_cookies_too() -> None:
    for path, page, allowed in (
        ("/orders", SHOP, True),
        ("/orders", PARTNER, False),
        ("/partner/x", PARTNER, True),
        ("/partner/x", SHOP, False),
        ("/auth/login", PARTNER, False),
    ):
        refusal = origins().refuse_cross_site(request(path=path, fields=f"Origin: {page}\r\n"))
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
    assert lines(origins().cors_lines(request(path=path, fields=f"Origin: {SHOP}\r\n"))) == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": SHOP,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": ", ".join(EXPOSED),
    }


@pytest.mark.parametrize(
    "name",
    [
        "ETag",
        "Location",
        "Link",
        "Content-Disposition",
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
        "X-Request-Id",
        "Content-Range",
    ],
)
def test_what_pages_need_of_an_answer_they_may_read_without_a_setting(name: str) -> None:
    """R-210."""
    assert name in EXPOSED


def test_a_route_may_let_its_pages_read_more_and_browsers_remember_for_longer() -> None:
    """R-210."""
    told = lines(origins().cors_lines(request("GET", "/partner/x", fields=f"Origin: {PARTNER}\r\n")))
    assert told["Access-Control-Expose-Headers"].split(", ") == [*EXPOSED, "X-Total-Count"]
    answer = preflight("/partner", PARTNER)
    assert isinstance(answer, str)
    assert lines(answer)["Access-Control-Max-Age"] == "7200"


@pytest.mark.parametrize("name", ["Set-Cookie", "authorization", "a b", "", "*", "X: y\r\n"])
def test_a_route_lets_no_page_read_credentials(name: str) -> None:
    """R-210: nor what is no name."""
    with pytest.raises(ValidationError, match=r"no name of a header field|holds credentials"):
        RouteSettings(**{**ROUTES[0], "expose_headers": [name]})


@pytest.mark.parametrize("origin", [*UNLISTED, PARTNER, "http://gate.example"])
def test_any_other_page_may_not_and_caches_are_told_that_it_depends(origin: str) -> None:
    """R-182."""
    assert origins().cors_lines(request(path="/orders", fields=f"Origin: {origin}\r\n")) == "Vary: Origin\r\n"
    assert origins().vary == "Vary: Origin\r\n"


def test_without_cookies_no_page_may_send_credentials_of_the_browsers() -> None:
    told = lines(origins(cookies="off").cors_lines(request(fields=f"Origin: {SHOP}\r\n")))
    assert told["Access-Control-Allow-Origin"] == SHOP
    assert "Access-Control-Allow-Credentials" not in told


def test_a_list_of_one_route_is_enough_for_answers_to_differ() -> None:
    assert origins(allowed=()).vary == "Vary: Origin\r\n"


def test_the_public_keys_say_by_themselves_that_everybody_may_read_them() -> None:
    assert origins().cors_lines(request("GET", "/.well-known/jwks.json", f"Origin: {SHOP}\r\n")) == "Vary: Origin\r\n"


def preflight(path: str, origin: str, asked: str = "POST", headers: str | None = None) -> str | Refusal | None:
    wanted = "" if headers is None else f"Access-Control-Request-Headers: {headers}\r\n"
    fields = f"Origin: {origin}\r\nAccess-Control-Request-Method: {asked}\r\n{wanted}"
    return origins().judge_preflight(request("OPTIONS", path, fields))


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
        "Access-Control-Max-Age": "7200" if origin == PARTNER else "600",
    }


def granted(headers: str, *more: str) -> list[str]:
    answer = preflight("/orders", SHOP, headers="\r\nAccess-Control-Request-Headers: ".join((headers, *more)))
    assert isinstance(answer, str)
    return lines(answer).get("Access-Control-Allow-Headers", "").split(", ")


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "content-type",
        "if-match",
        "range",
        "traceparent",
        "tracestate",
        "baggage",
        "sentry-trace",
        "x-request-id",
        "x-correlation-id",
        "x-requested-with",
        "x-http-method-override",
        "x-grpc-web",
        "x-user-agent",
        "x-user-locale",
        "x-hostname",
        "x-forwarding-note",
        "api_key",
        "x.y",
        "last-event-id",
        "cache-control",
    ],
)
def test_a_field_that_is_nobodys_identity_is_granted_also_where_it_is_replaced_or_dropped(name: str) -> None:
    """R-203: refused, it would take every call of the page away, while curl is served with the same field."""
    assert granted(name) == [name]


@pytest.mark.parametrize("name", ["x-user-id", "X-User-Roles", "signature", "Signature-Input", "x--user-id"])
def test_a_field_that_only_the_gateway_may_set_is_not_granted(name: str) -> None:
    """R-50, R-203."""
    assert granted(f"if-match, {name}") == ["if-match"]


def test_a_list_of_names_is_read_in_every_spelling_and_echoes_nothing_else() -> None:
    """R-203: blanks, case, empty members, several fields; nor `*`, which would stand for all."""
    assert granted('If-Match ,\tX-A,, x-a,a b,"x",*, x-b\t', "x-c,if-match") == ["if-match", "x-a", "x-b", "x-c"]
    names = [f"x-{number}" for number in range(200)]
    assert granted(",".join(names)) == names[:100]


@pytest.mark.parametrize(
    ("path", "origin", "reason"),
    [
        *(("/orders", origin, Reason.ORIGIN_REFUSED) for origin in UNLISTED),
        ("/partner", SHOP, Reason.ORIGIN_REFUSED),
        ("/auth/login", PARTNER, Reason.ORIGIN_REFUSED),
        ("/nowhere", PARTNER, Reason.ORIGIN_REFUSED),
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
    assert origins().judge_preflight(request(method, "/orders", fields)) is None


@pytest.mark.parametrize("path", ["/nowhere", "/internal/accounts"])
def test_where_nothing_is_routed_a_page_may_ask_and_reads_that(path: str) -> None:
    """R-208: of a preflight that is refused, a page learns nothing."""
    assert isinstance(preflight(path, SHOP), str)


# --- a head that was refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [SHOP, PARTNER])
@pytest.mark.parametrize("line", ["Origin: {}", "origin:{}", "ORIGIN: \t{}\t"])
def test_a_listed_page_may_read_why_its_head_was_refused(line: str, origin: str) -> None:
    """R-208: whichever route it was meant for."""
    found = origins().read_refused_head(f"GET /a//b HTTP/1.1\r\nHost: x\r\n{line.format(origin)}\r\n\r\n".encode())
    assert not found.preflight
    assert lines(found.cors)["Access-Control-Allow-Origin"] == origin


@pytest.mark.parametrize(
    "head",
    [
        *(f"GET /%00 HTTP/1.1\r\nOrigin: {origin}\r\n\r\n" for origin in UNLISTED),
        f"GET /%00 HTTP/1.1\r\nOrigin: {SHOP}\r\nOrigin: {SHOP}\r\n\r\n",
        f"GET /%00 HTTP/1.1\r\nOrigin: {SHOP}\r\norigin : https://evil.example\r\n\r\n",
        f"GET /%00 HTTP/1.1\r\nOrigin: {SHOP}\nOrigin: https://evil.example\r\n\r\n",
        f"GET /%00 HTTP/1.1\r\nX: 1\r\n\r\nOrigin: {SHOP}\r\n\r\n",
        f"GET /%00 HTTP/1.1\r\nX-Origin: {SHOP}\r\n\r\n",
        f"GET /%00 HTTP/1.1\nOrigin: {SHOP}\n\n",
        f"Origin: {SHOP}",
        "",
    ],
)
def test_nobody_else_may_read_it(head: str) -> None:
    """R-182: an origin that two readers could read differently is none."""
    assert origins().read_refused_head(head.encode()) == RefusedHead(preflight=False, cors="Vary: Origin\r\n")


def test_a_preflight_for_a_target_that_is_refused_lets_the_page_ask() -> None:
    """R-208: the request itself is refused, in words that the page can read."""
    fields = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a, x-user-id\r\n"
    found = origins().read_refused_head(f"OPTIONS /a//b HTTP/1.1\r\nOrigin: {SHOP}\r\n{fields}\r\n".encode())
    assert found.preflight
    assert lines(found.cors)["Access-Control-Allow-Headers"] == "x-a"
