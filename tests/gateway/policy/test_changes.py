"""What a reload may change is listed, and everything else needs a restart: R-294."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.policy.changes import RELOADABLE, compare_settings, revision_of
from lockgate.settings import Settings

ROUTE = {"name": "a", "prefix": "/a", "upstreams": ["http://127.0.0.1:1"]}


def settings(**sections: Any) -> Settings:  # noqa: ANN401 - any setting
    return Settings(**sections)


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({"limits": {"body_bytes": 1}}, "limits.body_bytes"),
        ({"roles": {"customer": ["a"]}}, "roles.customer"),
        ({"upstreams": {"a": ["http://127.0.0.1:1"]}}, "upstreams.a"),
        ({"route": [ROUTE]}, "route.a"),
        ({"server": {"allowed_hosts": ["a.example"]}}, "server.allowed_hosts"),
        ({"server": {"allowed_origins": ["https://a.example"]}}, "server.allowed_origins"),
        ({"server": {"trusted_proxies": ["10.0.0.0/8"]}}, "server.trusted_proxies"),
        ({"server": {"forwarded_from": "forwarded"}}, "server.forwarded_from"),
        ({"server": {"forwarded_host": True}}, "server.forwarded_host"),
        ({"server": {"own_host": "a.example"}}, "server.own_host"),
        ({"admin": {"allow_addresses": ["10.0.0.0/8"]}}, "admin.allow_addresses"),
    ],
)
def test_a_rule_is_reloaded_and_makes_another_revision(sections: dict[str, Any], place: str) -> None:
    """R-291."""
    before, after = settings(), settings(**sections)
    changes = compare_settings(before, after)
    assert [change.place for change in changes.rules] == [place]
    assert changes.restart == ()
    assert revision_of(before) != revision_of(after)
    assert revision_of(after) == revision_of(settings(**sections))


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({"server": {"port": 1}}, "server.port"),
        ({"server": {"host": "127.0.0.2"}}, "server.host"),
        ({"server": {"workers": 2}}, "server.workers"),
        ({"server": {"public_url": "https://a.example"}}, "server.public_url"),
        ({"redis_url": "redis://h:1"}, "redis_url"),
        ({"keys": {"directory": "elsewhere"}}, "keys.directory"),
        ({"token": {"issuer": "https://a.example"}}, "token.issuer"),
        ({"operations": {"port": 9}}, "operations.port"),
    ],
)
def test_another_setting_needs_a_restart_and_is_part_of_no_revision(sections: dict[str, Any], place: str) -> None:
    """R-294."""
    before, after = settings(), settings(**sections)
    changes = compare_settings(before, after)
    assert changes.rules == ()
    assert changes.restart == (place,)
    assert revision_of(before) == revision_of(after)


def test_every_listed_setting_exists() -> None:
    """A name that is written wrong would be a setting that is never reloaded."""
    for section, names in RELOADABLE.items():
        assert section in Settings.model_fields
        assert names is None or names <= set(type(getattr(Settings(), section)).model_fields)


def test_no_secret_is_shown() -> None:
    """R-297."""
    changes = compare_settings(settings(redis_url="redis://:one@h:1"), settings(redis_url="redis://:two@h:1"))
    assert changes == ((), ("redis_url",))


def test_a_changed_route_is_shown_by_its_fields() -> None:
    """R-297."""
    before = settings(route=[ROUTE, {**ROUTE, "name": "b", "prefix": "/b"}])
    after = settings(route=[{**ROUTE, "timeout_s": 3, "prefix": "/c"}])
    assert [tuple(change)[:3:2] for change in compare_settings(before, after).rules[:2]] == [
        ("route.a.prefix", "/c"),
        ("route.a.timeout_s", 3.0),
    ]
    (gone,) = compare_settings(before, after).rules[2:]
    assert (gone.place, gone.after) == ("route.b", None)
