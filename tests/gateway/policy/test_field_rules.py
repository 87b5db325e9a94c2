"""What header rules and names of choice may say: checked when the routes are compiled (R-268, R-320)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lockgate.errors import ConfigurationError
from lockgate.policy.route import Route
from lockgate.policy.routes import RouteTable
from lockgate.settings import Settings
from tests.support.rules import RESERVED

UPSTREAMS = ["http://10.0.0.1:80"]


def compiled(*others: dict[str, Any], **route: Any) -> Route:  # noqa: ANN401 - as in the file
    to_service = {} if {"redirect", "respond"} & route.keys() else {"upstreams": UPSTREAMS}
    entry = {"name": "wiki", "prefix": "/wiki", **to_service, **route}
    return RouteTable.from_settings(Settings(route=[entry, *others])).routes[0]  # type: ignore[arg-type]  # as in the file


def fault_of(*others: dict[str, Any], **route: Any) -> str:  # noqa: ANN401 - as in the file
    with pytest.raises(ConfigurationError, match="route 'wiki'") as caught:
        compiled(*others, **route)
    return str(caught.value)


NEVER_SET = [
    *(
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "HTTP2-Settings",
    ),
    *("Content-Length", "X-Request-Id", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "X_User_Id"),
    *RESERVED,
]
REQUESTS_ONLY = [
    *(
        "Host",
        "Expect",
        "Authorization",
        "Cookie",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "X-Forwarded-For",
        "Idempotency-Key",
    ),
    *(
        "X-Forwarded-User",
        "X-Auth-Request-Email",
        "Remote-User",
        "X-Original-URL",
        "X-HTTP-Method-Override",
        "Traceparent",
    ),
    *("X.Tenant", "X_Tenant", "Baggage", "Proxy", "Content-Digest", "Signature", "signature-input"),
]
RESPONSES_ONLY = [
    *("Date", "RateLimit", "RateLimit-Policy", "Access-Control-Allow-Origin", "access-control-allow-credentials"),
    *("Access_Control_Allow_Origin", "X-Forwarded-User"),
]


@pytest.mark.parametrize("kind", ["set", "add", "remove"])
@pytest.mark.parametrize("name", [*NEVER_SET, *REQUESTS_ONLY])
def test_no_rule_of_requests_reaches_what_the_gateway_states(name: str, kind: str) -> None:
    """R-268: identity, framing, the connection, addresses, credentials."""
    rule: Any = [name] if kind == "remove" else {name: "x"}
    assert f"request_headers.{kind}: {name} is out of reach" in fault_of(request_headers={kind: rule})


@pytest.mark.parametrize("kind", ["set", "add", "remove"])
@pytest.mark.parametrize("name", [*NEVER_SET, *RESPONSES_ONLY])
def test_no_rule_of_responses_reaches_what_the_gateway_states(name: str, kind: str) -> None:
    """R-268: framing, the connection, CORS, limits, identity."""
    rule: Any = [name] if kind == "remove" else {name: "x"}
    assert f"response_headers.{kind}: {name} is out of reach" in fault_of(response_headers={kind: rule})


@pytest.mark.parametrize(
    "value", ["__Host-lockgate=stolen", "lockgate-localhost=x; Path=/", " =__host-LOCKGATE=x", "__Host-lockgate"]
)
@pytest.mark.parametrize("kind", ["set", "add"])
def test_no_rule_sets_the_cookie_of_a_session(kind: str, value: str) -> None:
    """R-268: a fixed value would put every browser into one session."""
    assert "own cookie" in fault_of(response_headers={kind: {"set-COOKIE": value.strip()}})
    assert compiled(response_headers={kind: {"Set-Cookie": "canary=2; Path=/"}}).response_rules is not None


@pytest.mark.parametrize(
    "value",
    ["a\r\nX-User-Id: root", "a\nb", "a\rb", "a\x00b", "a\x0bb", "é", "a\x7f", "", " a", "a\t", "x" * 4097],
)
def test_a_value_is_one_line_of_visible_ascii(value: str) -> None:
    """R-268: a line break would begin another field, or end the head."""
    for direction in ("request_headers", "response_headers"):
        for kind in ("set", "add"):
            with pytest.raises(ValidationError):
                compiled(**{direction: {kind: {"X-Tenant": value}}})


@pytest.mark.parametrize("name", ["", "X Tenant", "X-Tenant:", "X-Tenant\r\nX-User-Id", "É", "X" * 65, "(x)"])
def test_a_name_is_a_token(name: str) -> None:
    """R-268."""
    for rule in ({"set": {name: "a"}}, {"add": {name: "a"}}, {"remove": [name]}):
        with pytest.raises(ValidationError):
            compiled(request_headers=rule)


@pytest.mark.parametrize(
    "rules",
    [
        {"set": {"X-Tenant": "a", "x-tenant": "b"}},
        {"set": {"X-Tenant": "a"}, "add": {"X-TENANT": "b"}},
        {"set": {"X-Tenant": "a"}, "remove": ["X-Tenant"]},
        {"remove": ["X-Tenant", "X--Tenant"]},
    ],
)
def test_a_name_has_one_rule(rules: dict[str, Any]) -> None:
    """R-268: which of two rules holds would be a guess."""
    assert "one name" in fault_of(request_headers=rules)


def test_rules_are_text_before_the_first_request() -> None:
    rules = compiled(
        request_headers={"set": {"X-Tenant": "wiki"}, "add": {"X-Via": "gate"}, "remove": ["X-Debug"]}
    ).request_rules
    assert rules is not None
    given = "x-tenant: mine\r\nx-tenant: again\r\nx~tenant: odd\r\nx-debug: 1\r\naccept: a\r\nx-via: mine\r\n"
    assert rules.change_lines(given) == "accept: a\r\nx-via: mine\r\nX-Tenant: wiki\r\nX-Via: gate\r\n"
    plain = compiled()
    assert (plain.request_rules, plain.response_rules, plain.identity_fields) == (None, None, None)


@pytest.mark.parametrize("setting", ["request_headers", "response_headers", "identity_headers"])
@pytest.mark.parametrize("end", [{"redirect": {"to": "/new"}}, {"respond": {"status": 204}}])
def test_a_route_without_a_service_has_no_rules(end: dict[str, Any], setting: str) -> None:
    """R-268: a fixed response has fields of its own."""
    assert f"{setting} means nothing" in fault_of(**end, **{setting: {}})


@pytest.mark.parametrize(
    "name",
    [
        *("X-User-Id", "x-user-roles", "Signature-Input", "X-Request-Id", "X-Forwarded-For", "X-Forwarded-Host"),
        *("X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Original-URL", "Content-Type", "Accept-Language", "If-Match"),
        *(
            "X-Real-IP",
            "Sec-Fetch-Site",
            "Transfer-Encoding",
            "User-Agent",
            "Idempotency-Key",
            "Access-Control-Request-Method",
        ),
        *("X-HTTP-Method-Override", "Keep-Alive", "Sec-WebSocket-Key", "X-Original-Host", "Cache-Control"),
    ],
)
@pytest.mark.parametrize("told", ["user", "email", "roles"])
def test_a_name_of_choice_says_nothing_else(name: str, told: str) -> None:
    """R-320: not the gateway's own names, not what frames a message, not what HTTP means by a field."""
    assert f"identity_headers.{told}: {name} is out of reach" in fault_of(identity_headers={told: name})


@pytest.mark.parametrize("name", ["X_User", "x.user", "User", "Host", "X-User-", "-User", "X--User", "X~User"])
def test_a_name_of_choice_is_words_with_hyphens(name: str) -> None:
    """R-320: each spelling of such a name is dropped, and a signature can cover it."""
    assert "words with hyphens" in fault_of(identity_headers={"user": name})


def test_a_name_of_choice_tells_one_thing() -> None:
    """R-320."""
    assert "one name" in fault_of(identity_headers={"user": "X-Forwarded-User", "email": "x-forwarded-user"})
    assert "one name" in fault_of(identity_headers={"user": "X-Wiki-User", "email": "X-WikiUser"})
    assert "names nothing" in fault_of(identity_headers={})
    assert "public route" in fault_of(identity_headers={"user": "X-Forwarded-User"}, auth="public", methods=["GET"])


def test_routes_may_share_names_of_choice_and_no_rule_reaches_them() -> None:
    """R-320: also not from another route."""
    other = {"name": "board", "prefix": "/board", "upstreams": UPSTREAMS, "identity_headers": {"user": "Wiki-User"}}
    assert compiled(other, identity_headers={"email": "Wiki-User"}).identity_fields is not None
    assert "out of reach" in fault_of(other, request_headers={"set": {"Wiki-User": "root"}})
    assert "out of reach" in fault_of(other, response_headers={"remove": ["wiki-USER"]})
