"""The route table that ships with the program."""

from __future__ import annotations

from pathlib import Path

from lockgate.policy.route import Route
from lockgate.policy.routes import RouteTable, find_route
from lockgate.settings import load_settings
from tests.support.heads import request

SHIPPED = Path(__file__).parents[3] / "lockgate.toml"


def test_who_registers_is_limited_because_hashing_a_password_costs_most_of_all() -> None:
    """R-122: registration needs no token, so the limit is by address."""
    route = find_route(RouteTable.from_settings(load_settings(SHIPPED)), request("POST", "/users/register"))
    assert isinstance(route, Route)
    assert [limit.per for limit in route.demands["POST"].limits] == ["address"]
