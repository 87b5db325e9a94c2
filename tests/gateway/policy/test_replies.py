"""R-262: what the gateway responds on a route itself; no request chooses where a redirect leads."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lockgate.edge.own_call import Reply
from lockgate.edge.wire import WireError
from lockgate.errors import ConfigurationError, Refusal
from lockgate.policy.https_redirect import build_https_redirect
from lockgate.policy.routes import RouteTable, find_route
from lockgate.route_settings import RedirectSettings, RespondSettings
from lockgate.settings import Settings
from tests.support.heads import PEERS, request


def answer(target: str, host: str = "old.example", public_url: str | None = None, /, **route: Any) -> Reply | Refusal:  # noqa: ANN401 - any setting
    """What a request gets of a single route."""
    content: dict[str, Any] = {
        "route": [{"name": "one", "prefix": "/", **route}],
        "server": {} if public_url is None else {"public_url": public_url},
    }
    asking = request("GET", target, host)
    found = find_route(RouteTable.from_settings(Settings(**content)), asking)
    if isinstance(found, Refusal):
        return found
    assert found.reply is not None
    return found.reply.respond_to(asking)


def location_of(reply: Reply | Refusal) -> str:
    assert isinstance(reply, Reply)
    (line,) = (line for line in reply.lines.split(b"\r\n") if line.lower().startswith(b"location:"))
    return line.partition(b": ")[2].decode("ascii")


@pytest.mark.parametrize(
    ("prefix", "to", "target", "location"),
    [
        ("/", "https://www.example.org", "/", "https://www.example.org/"),
        ("/", "https://www.example.org", "/a/b?x=1&y=%20", "https://www.example.org/a/b?x=1&y=%20"),
        ("/", "https://www.example.org/", "/a?", "https://www.example.org/a?"),
        ("/", "https://www.example.org/shop", "/a/", "https://www.example.org/shop/a/"),
        ("/", "https://[2001:db8::1]:8443", "/a", "https://[2001:db8::1]:8443/a"),
        ("/old", "https://www.example.org", "/old", "https://www.example.org"),
        ("/old", "/", "/old", "/"),
        ("/old", "/", "/old?x", "/?x"),
        ("/old", "/", "/old/", "/"),
        ("/old", "/", "/old/a", "/a"),
        ("/old", "/new", "/old/a/b?x", "/new/a/b?x"),
        ("/old", "/new/", "/old/a", "/new/a"),
        ("/old", "/new", "//old///a", "/new/a"),
        ("/old", "/new", "/%6fld/%c3%a9", "/new/%C3%A9"),
    ],
)
def test_the_rest_of_the_path_and_the_query_follow(prefix: str, to: str, target: str, location: str) -> None:
    """R-262."""
    assert location_of(answer(target, prefix=prefix, redirect={"to": to})) == location


def test_a_redirect_may_lead_to_one_page() -> None:
    """R-262."""
    redirect = {"to": "https://www.example.org/gone?from=old", "keep_path": False, "status": 303}
    reply = answer("/old/a?secret=1", prefix="/old", redirect=redirect)
    assert isinstance(reply, Reply)
    assert (reply.status, location_of(reply)) == (303, "https://www.example.org/gone?from=old")


def test_a_path_that_a_front_proxy_removes_is_in_the_redirect() -> None:
    """R-262."""
    reply = answer("/old/a", "h", "https://www.example.org/gw", prefix="/old", redirect={"to": "/new"})
    assert location_of(reply) == "/gw/new/a"


HOSTILE = (
    "//evil.example",
    "///evil.example/x",
    "/old//evil.example",
    "/old/%2Fevil.example",
    "/old/%2F%2Fevil.example",
    "/old/%5Cevil.example",
    "/old/\\evil.example",
    "\\\\evil.example",
    "/\\evil.example",
    "/old/%0d%0aLocation:%20https://evil.example",
    "/old/a\r\nX: y",
    "/old/%00",
    "/old/..%2f..%2fevil.example",
    "/old/;//evil.example",
    "/old@evil.example",
    "/old/@evil.example",
    "/old:80@evil.example/",
    "/old?//evil.example",
    "/old?\\evil.example",
    "/old?x=%0d%0aLocation:%20https://evil.example",
    "https://evil.example/old",
    "http://old.example@evil.example/old",
    "/old.evil.example",
    "/old/.evil.example",
)
_WILD = st.text(st.sampled_from("/\\@:?#;.%25fFcCdDaA0 \t\r\nevil"), max_size=24)


@pytest.mark.parametrize("to", ["https://www.example.org", "https://www.example.org/x", "/", "/new"])
@given(text=st.one_of(st.sampled_from(HOSTILE), _WILD.map("/old{}".format), _WILD))
def test_no_target_leads_to_another_host(to: str, text: str) -> None:
    """R-262: attack: a link to a host that users trust leads them to one that they do not (open redirect)."""
    for prefix in ("/old", "/"):
        if prefix == "/" and to.startswith("/"):
            continue  # such a table does not start: every request would be redirected again
        try:
            reply = answer(text, prefix=prefix, encoded_slashes=True, redirect={"to": to})
        except (WireError, UnicodeEncodeError):
            continue
        if isinstance(reply, Refusal):
            continue
        assert reply.lines.count(b"\r\n") == len([line for line in reply.lines.split(b"\r\n") if line])
        assert b"\r" not in reply.lines.replace(b"\r\n", b"")
        location = location_of(reply)
        # A browser reads a backslash as a slash, and drops tabs and line ends.
        seen = urljoin("https://old.example/old/a", location.replace("\\", "/"))
        assert urlsplit(seen).netloc == urlsplit(urljoin("https://old.example", to)).netloc, location
        assert not location.startswith("//")


@pytest.mark.parametrize(
    "to",
    [
        *("", "new", "//evil.example", "/\\evil.example", "\\\\evil.example", "ftp://a.example", "javascript:alert(1)"),
        *("https://", "https://a.example#x", "/new#x", "https://user@a.example", "https://a.example:80:80", "/a b"),
        *(
            "https://a..example",
            "/new\r\nX: y",
            "https://a.example\\@evil.example",
            "/é",
            "https://*.example",
            "/x?y=1",
        ),
    ],
)
def test_a_redirect_leads_to_a_plain_address_or_path(to: str) -> None:
    """R-262."""
    with pytest.raises(ValidationError):
        RedirectSettings(to=to)


def test_a_fixed_response_is_what_the_configuration_says() -> None:
    """R-262."""
    reply = answer("/robots.txt", prefix="/robots.txt", respond={"body": "User-agent: *\né", "headers": {"A": "b"}})
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body) == (200, "User-agent: *\né".encode())
    assert b"Content-Type: text/plain; charset=utf-8\r\n" in reply.lines
    assert b"A: b\r\n" in reply.lines
    page = answer("/", respond={"status": 503, "body": "<p>", "headers": {"content-type": "text/html"}})
    assert isinstance(page, Reply)
    assert page.lines.lower().count(b"content-type:") == 1


@pytest.mark.parametrize(
    "respond",
    [
        {"status": 199},
        {"status": 301},
        {"status": 600},
        {"status": 204, "body": "x"},
        {"body": "x" * 65_537},
        {"headers": {"Content-Length": "3"}},
        {"headers": {"transfer-encoding": "chunked"}},
        {"headers": {"Connection": "close"}},
        {"headers": {"Set-Cookie": "a=b"}},
        {"headers": {"X-Request-Id": "a"}},
        {"headers": {"Access-Control-Allow-Origin": "*"}},
        {"headers": {"A b": "c"}},
        {"headers": {"A": "b\r\nC: d"}},
        {"headers": {"A": "é"}},
    ],
)
def test_a_fixed_response_cannot_break_the_connection_or_speak_for_the_gateway(respond: dict[str, Any]) -> None:
    """R-262."""
    with pytest.raises(ValidationError):
        RespondSettings(**respond)


@pytest.mark.parametrize(
    "more",
    [
        {"auth": "required"},
        {"scopes": {"GET": ["a:b"]}},
        {"rate": "1/s per address"},
        {"service": "orders"},
        {"websocket": ["/a"]},
        {"timeout_s": 3},
    ],
)
def test_a_setting_for_services_on_a_route_without_one_is_an_error(more: dict[str, Any]) -> None:
    """R-262: `auth = "required"` would look like a protection, and be none."""
    with pytest.raises(ConfigurationError, match=f"route 'one': {next(iter(more))} means nothing"):
        answer("/a", respond={}, **more)


@pytest.mark.parametrize(
    "route", [{}, {"respond": {}, "redirect": {"to": "/b"}}, {"respond": {}, "upstreams": ["http://127.0.0.1:9"]}]
)
def test_a_route_leads_to_one_thing(route: dict[str, Any]) -> None:
    """R-262."""
    with pytest.raises(ValidationError, match="one of the three"):
        answer("/a", **route)


# --- from http to https ----------------------------------------------------------------------------------------------

SECURE: dict[str, Any] = {
    "redirect_http": True,
    "trusted_proxies": ["127.0.0.9"],
    "public_url": "https://www.example.org:8443",
    "own_host": "gate.example.org",
}


def redirected(target: str, host: str, fields: str = "", method: str = "GET") -> Reply | Refusal | None:
    content: dict[str, Any] = {
        "server": SECURE,
        "route": [
            {"name": "a", "prefix": "/", "hosts": ["a.example", "*.b.example"], "upstreams": ["http://127.0.0.1:9"]}
        ],
    }
    redirect = build_https_redirect(Settings(**content))
    assert redirect is not None
    asking = request(method, target, host, fields, PEERS[1], trusted_proxies=SECURE["trusted_proxies"])
    return redirect.respond_to(asking)


@pytest.mark.parametrize(
    ("target", "host", "location"),
    [
        ("/x?y", "a.example", "https://a.example/x?y"),
        ("/x", "A.example.:80", "https://a.example/x"),
        ("/x", "a.example:8080", "https://a.example/x"),
        ("/", "c.d.b.example", "https://c.d.b.example/"),
        ("//evil.example", "www.example.org", "https://www.example.org:8443/evil.example"),
        ("/auth/login", "gate.example.org", "https://gate.example.org/auth/login"),
    ],
)
def test_what_comes_by_http_is_led_to_https_on_the_same_host(target: str, host: str, location: str) -> None:
    """R-263."""
    for method in ("GET", "POST", "OPTIONS"):
        reply = redirected(target, host, "Origin: https://a.example\r\n", method)
        assert isinstance(reply, Reply)
        assert (reply.status, location_of(reply)) == (308, location)


@pytest.mark.parametrize("host", ["evil.example", "b.example", "a.example.evil.example", "10.0.0.1", "[::1]"])
def test_no_host_that_is_not_configured_is_redirected_to(host: str) -> None:
    """R-263: attack: a shared cache keeps a redirect to the host that one client named."""
    refusal = redirected("/x", host)
    assert isinstance(refusal, Refusal)
    assert refusal.reason.status == 421


@pytest.mark.parametrize(
    ("target", "method"),
    [("/healthz", "GET"), ("/readyz", "HEAD"), ("/", "OPTIONS"), ("*", "OPTIONS"), ("/auth/verify", "GET")],
)
def test_probes_and_front_proxies_are_answered_by_http(target: str, method: str) -> None:
    """R-263: they follow no redirect."""
    assert redirected(target, "10.0.0.1", method=method) is None


def test_a_request_that_came_by_https_is_served() -> None:
    """R-263."""
    assert redirected("/x", "a.example", "X-Forwarded-Proto: https\r\n") is None


def test_without_a_proxy_every_request_would_be_redirected_for_ever() -> None:
    """R-263."""
    content: dict[str, Any] = {"server": {"redirect_http": True}}
    with pytest.raises(ValidationError, match="needs trusted_proxies"):
        Settings(**content)
