"""R-264: a route, and `/admin`, take requests of the networks that may ask, and of no address that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.edge.head import Peer
from lockgate.errors import Reason, Refusal
from lockgate.policy.routes import RouteTable, find_route
from lockgate.settings import Settings
from tests.support.heads import PEERS, request

OFFICE = ["192.0.2.0/24", "2001:db8::/32"]
PROXY: dict[str, Any] = {"trusted_proxies": ["127.0.0.9"]}
UNIX = Peer("unix", trusted=False)


def built(rule: dict[str, Any]) -> RouteTable:
    content: dict[str, Any] = {
        "route": [{"name": "inner", "prefix": "/inner", "upstreams": ["http://127.0.0.1:9"], **rule}],
        "admin": rule,
    }
    return RouteTable.from_settings(Settings(**content))


def is_let_in(rule: dict[str, Any], peer: Peer, fields: str = "") -> bool:
    """Whether a client may use the route; the same holds for `/admin`."""
    table = built(rule)
    found = find_route(table, request("GET", "/inner/x", fields=fields, peer=peer, **PROXY))
    if isinstance(found, Refusal):
        assert found.reason is Reason.ADDRESS_REFUSED
        assert found.reason.status == 403
    for path in ("/admin", "/admin/users/alice", "/console/x"):
        refusal = table.refuse_own(request("GET", path, fields=fields, peer=peer, **PROXY))
        assert (refusal is None) == (not isinstance(found, Refusal))
    return not isinstance(found, Refusal)


@pytest.mark.parametrize(
    ("address", "let_in"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::1", True),
        ("192.0.3.7", False),
        ("127.0.0.1", False),
        ("::1", False),
        ("unix", False),
        ("", False),
    ],
)
def test_the_clients_of_listed_networks_may_ask(address: str, let_in: bool) -> None:  # noqa: FBT001 - a case
    """R-264."""
    assert is_let_in({"allow_addresses": OFFICE}, Peer(address, trusted=False)) is let_in


@pytest.mark.parametrize(
    ("address", "let_in"), [("192.0.2.7", False), ("192.0.2.8", True), ("198.51.100.1", False), ("unix", False)]
)
def test_a_denied_network_is_denied_even_where_it_is_allowed(address: str, let_in: bool) -> None:  # noqa: FBT001 - a case
    """R-264."""
    rule = {"allow_addresses": OFFICE, "deny_addresses": ["192.0.2.7/32", "198.51.100.0/24"]}
    assert is_let_in(rule, Peer(address, trusted=False)) is let_in


def test_with_denied_networks_alone_all_others_may_ask() -> None:
    """R-264."""
    rule = {"deny_addresses": ["198.51.100.0/24"]}
    assert is_let_in(rule, Peer("192.0.2.7", trusted=False))
    assert not is_let_in(rule, Peer("198.51.100.1", trusted=False))
    assert not is_let_in(rule, UNIX)


@pytest.mark.parametrize(
    ("fields", "let_in"),
    [
        ("X-Forwarded-For: 192.0.2.7\r\n", True),
        ("X-Forwarded-For: 203.0.113.9, 192.0.2.7\r\n", True),
        ("X-Forwarded-For: 192.0.2.7, 203.0.113.9\r\n", False),
        ("X-Forwarded-For: unknown\r\n", False),
        ("X-Forwarded-For: 192.0.2.7, unknown\r\n", False),
        ("X-Forwarded-For: 192.0.2.7:80, _hidden\r\n", False),
        ("X-Forwarded-For: \r\n", False),
        ("", False),
        ("X-Real-IP: 192.0.2.7\r\n", False),
        ("Forwarded: for=192.0.2.7\r\n", False),
    ],
)
def test_behind_a_proxy_the_address_counts_that_the_proxy_states(fields: str, let_in: bool) -> None:  # noqa: FBT001 - a case
    """R-264, R-205: the proxy's own address counts such a request, and allows it nothing."""
    assert is_let_in({"allow_addresses": [*OFFICE, "127.0.0.0/8"]}, PEERS[1], fields) is let_in


def test_a_client_that_is_no_proxy_cannot_state_another_address() -> None:
    """R-264."""
    assert not is_let_in({"allow_addresses": OFFICE}, PEERS[0], "X-Forwarded-For: 192.0.2.7\r\n")
