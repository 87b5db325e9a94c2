"""What can be said of the example for Traefik without a Traefik: that nothing is missing in it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from lockgate_trust import headers
from tests.support.node import ROOT

Example = dict[str, Any]
EXAMPLE = ROOT / "deploy" / "front-proxies" / "traefik.yaml"
FROM_SERVICES = "x-caller"
"""Said by services of each other, never by the gateway's answer; so it is removed, and not copied."""


@pytest.fixture(scope="module")
def http() -> Example:
    found: Example = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["http"]
    return found


def removed(middleware: Example) -> set[str]:
    """The fields that a `headers` middleware takes out: those with an empty value."""
    fields = middleware["headers"]["customRequestHeaders"]
    assert set(fields.values()) == {""}
    return {name.lower() for name in fields}


def test_every_field_that_says_who_asks_is_replaced_or_removed(http: Example) -> None:
    """R-50."""
    asking = http["middlewares"]["lockgate"]["forwardAuth"]
    assert asking["trustForwardHeader"] is False
    copied = {name.lower() for name in asking["authResponseHeaders"]}
    identity = {name.lower() for name in headers.IDENTITY_HEADERS}
    signature = {headers.SIGNATURE.lower(), headers.SIGNATURE_INPUT.lower()}
    assert copied == identity - {FROM_SERVICES} | signature
    cleaned = removed(http["middlewares"]["lockgate-clean"])
    assert {FROM_SERVICES, headers.CONTENT_DIGEST.lower(), "x-original-method", "x-original-uri"} <= cleaned
    assert removed(http["middlewares"]["lockgate-no-token"]) == {"authorization"}


def test_every_name_that_is_used_is_defined(http: Example) -> None:
    used = [name for router in http["routers"].values() for name in router.get("middlewares", ())]
    assert set(used) == set(http["middlewares"])
    assert {router["service"] for router in http["routers"].values()} == set(http["services"])


def test_what_a_service_gets_was_asked_about_between_cleaning_and_taking_the_token_out(http: Example) -> None:
    guarded = [router for router in http["routers"].values() if router["service"] != "lockgate"]
    assert guarded
    for router in guarded:
        assert router["middlewares"] == ["lockgate-clean", "lockgate", "lockgate-no-token"]


def test_clients_cannot_ask_by_themselves(http: Example) -> None:
    rules = [router["rule"] for router in http["routers"].values() if router["service"] == "lockgate"]
    assert rules
    assert [rule for rule in rules if "!PathPrefix(`/auth/verify`)" not in rule] == []
