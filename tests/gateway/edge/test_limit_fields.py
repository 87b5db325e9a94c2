"""The RateLimit fields are structured fields, as another parser reads them."""

from __future__ import annotations

import itertools
from typing import Any, Final

import http_sf
import pytest

from lockgate.accounts.throttle import used_up
from lockgate.admission.rate import Windows, describe_limits
from lockgate.policy.limits import Limit, parse_limits
from tests.support.clock import ManualClock

UNITS: Final = ("user", "address", "client", "route")
WINDOWS: Final = {"s": 1, "min": 60, "h": 3600, "day": 86_400, "month": 31 * 86_400}
NOW: Final = ManualClock().now()


LIMITS: Final = parse_limits(
    [f"100/{window} per {unit}" for unit, window in itertools.product(UNITS, WINDOWS)], "orders", ()
)


def items(field: str) -> dict[str, dict[str, Any]]:
    """The items of a list of structured fields, by their strings."""
    parsed: Any = http_sf.parse(field.encode("ascii"), tltype="list")
    found = {}
    for name, parameters in parsed:
        assert type(name) is str
        found[name] = dict(parameters)
    assert len(found) == len(parsed)
    return found


def fields(lines: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines.split("\r\n") if line)


def test_the_fields_list_every_limit_of_a_request() -> None:
    """R-279."""
    windows = [Windows().of(limit, "u:alice@secret.example", NOW) for limit in LIMITS]
    told = fields(describe_limits(windows, range(len(windows)), NOW))
    policies, standings = items(told["RateLimit-Policy"]), items(told["RateLimit"])
    assert set(policies) == set(standings) == {f"{unit}-{window}" for unit in UNITS for window in WINDOWS}
    for place, limit in enumerate(LIMITS):
        assert policies[limit.name] == {"q": 100, "w": WINDOWS[limit.name.rpartition("-")[2]]}
        standing = standings[limit.name]
        assert standing["r"] == place
        assert 1 <= standing["t"] <= limit.window_s
    assert "alice" not in "".join(told.values())


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
def test_a_refusal_names_the_limit_and_says_when_to_come_back(limit: Limit) -> None:
    """R-279, R-129."""
    window = Windows().of(limit, "u:alice", NOW)
    told = dict(window.refusal([window], NOW).headers)
    assert set(items(told["RateLimit-Policy"])) == {limit.name}
    standing = items(told["RateLimit"])[limit.name]
    assert standing == {"r": 0, "t": int(told["Retry-After"])}


def test_own_calls_tell_the_same() -> None:
    """R-279."""
    told = dict(used_up("login", 100, 900, 1))
    assert items(told["RateLimit-Policy"]) == {"login": {"q": 100, "w": 900}}
    assert items(told["RateLimit"]) == {"login": {"r": 0, "t": 1}}
    assert told["Retry-After"] == "1"


def test_a_request_without_a_limit_is_told_of_none() -> None:
    assert not describe_limits([], [], NOW)
