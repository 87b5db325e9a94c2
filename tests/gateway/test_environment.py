"""Every `LOCKGATE_` variable is taken, or named in an error with the right spelling. R-218."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from lockgate import settings
from lockgate.errors import ConfigurationError
from lockgate.settings import Settings

FILE: Final = """
[roles]
customer = ["orders:read"]
Back-Office = ["orders:write"]

[[route]]
name = "order-api"
prefix = "/orders"
upstreams = ["http://file:1"]
"""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours but those of the test."""
    for name in ("REDIS_URL", "LOCKGATE_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = FILE, **variables: str) -> Settings:
    """The settings with these variables."""
    file = folder / "lockgate.toml"
    file.write_text(text, encoding="utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return settings.load_settings(file)


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("LOCKGATE_UPSTREAMS__ORDER_API", '["http://a:1", "http://b:2"]', ("upstreams", {"order-api": ("http://a:1", "http://b:2")})),
        ("LOCKGATE_UPSTREAMS__ORDER_API", "http://a:1,http://b:2", ("upstreams", {"order-api": ("http://a:1", "http://b:2")})),
        ("LOCKGATE_UPSTREAMS__ORDER-API", "http://a:1", ("upstreams", {"order-api": ("http://a:1",)})),
        ("LOCKGATE_UPSTREAMS", '{"order-api": ["http://a:1"]}', ("upstreams", {"order-api": ("http://a:1",)})),
        ("LOCKGATE_SERVER__PORT", "2222", ("server.port", 2222)),
        ("lockgate_server__port", "2222", ("server.port", 2222)),
        ("LOCKGATE_SERVER", '{"port": 2222}', ("server.port", 2222)),
        ("LOCKGATE_SERVER__ALLOWED_HOSTS", "a.example, b.test", ("server.allowed_hosts", ("a.example", "b.test"))),
        ("LOCKGATE_SERVER__ALLOWED_HOSTS", "", ("server.allowed_hosts", ())),
        ("LOCKGATE_OPERATIONS__PORT", "", ("operations.port", None)),
        ("LOCKGATE_TRACING__ENDPOINT", "", ("tracing.endpoint", None)),
        ("LOCKGATE_REDIS_URL", "", ("redis_url", None)),
        ("LOCKGATE_LOG__ACCESS", "false", ("log.access", False)),
        ("LOCKGATE_ROLES__CUSTOMER", "orders:write", ("roles.customer", ("orders:write",))),
        ("LOCKGATE_ROLES__BACK_OFFICE", "orders:read", ("roles.Back-Office", ("orders:read",))),
        ("LOCKGATE_ROLES__NEW", "orders:read", ("roles.new", ("orders:read",))),
    ],
)  # fmt: skip
def test_a_variable_is_taken_in_every_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, setting: tuple[str, object]
) -> None:
    """R-218."""
    found: Any = loaded(tmp_path, monkeypatch, **{name: value})
    place, taken = setting
    for part in place.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found == taken


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("LOCKGATE_SERVER__PROT", "hunter2", "did you mean LOCKGATE_SERVER__PORT?"),
        ("LOCKGATE_SERVER_PORT", "hunter2", "did you mean LOCKGATE_SERVER__PORT?"),
        ("LOCKGATE_SERVER___PORT", "hunter2", "did you mean LOCKGATE_SERVER__PORT?"),
        ("LOCKGATE_SERVER__PORT__X", "hunter2", "did you mean LOCKGATE_SERVER__PORT?"),
        ("LOCKGATE_SERVER__", "hunter2", "did you mean LOCKGATE_SERVER__"),
        ("LOCKGATE_SEVER__PORT", "hunter2", "did you mean LOCKGATE_SERVER__PORT?"),
        ("LOCKGATE_PORT", "8080", "did you mean LOCKGATE_SERVER__PORT?"),
        ("LOCKGATE_REDISURL", "hunter2", "did you mean LOCKGATE_REDIS_URL?"),
        ("LOCKGATE_", "hunter2", "there is no such setting"),
        ("LOCKGATE_SERVER__PORT", "hunter2", "valid integer"),
        ("LOCKGATE_SERVER__PORT", "", "it is empty; give it a value or unset it"),
        ("LOCKGATE_SERVER", "hunter2", "a table as JSON"),
        ("LOCKGATE_ROLES", "{hunter2", "a table as JSON"),
        ("LOCKGATE_ROLES", '["hunter2"]', "a table as JSON"),
        ("LOCKGATE_UPSTREAMS__ORDER_API", "[hunter2", 'a list as JSON, such as ["a", "b"], or a,b'),
        ("LOCKGATE_UPSTREAMS__ORDER_API", "hunter2", "http(s)://host:port"),
        ("LOCKGATE_UPSTREAMS__ORDER_API", "", "at least 1 item"),
        ("LOCKGATE_UPSTREAMS__ORDR_API", "http://hunter2:1", "did you mean order-api?"),
        ("LOCKGATE_UPSTREAMS__", "http://hunter2:1", "there is no such setting"),
        ("LOCKGATE_ROUTE__0__NAME", "hunter2", "LOCKGATE_ROUTE takes all of it, as JSON"),
        ("LOCKGATE_TOKEN__ISSUER", "", "LOCKGATE_TOKEN__ISSUER"),
    ],
)  # fmt: skip
def test_a_variable_that_is_not_taken_is_named_with_what_would_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, right: str
) -> None:
    """R-218: one line, without the value, which may be a secret."""
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, monkeypatch, **{name: value})
    line = str(caught.value)
    assert line.startswith(f"{name}: ")
    assert right in line
    assert "\n" not in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("LOCKGATE_UPSTREAMS__ORDER_API", "LOCKGATE_UPSTREAMS__ORDER-API"),
        ("LOCKGATE_UPSTREAMS__ORDER_API", "lockgate_upstreams__order_api"),
    ],
)
def test_two_spellings_of_one_setting_have_to_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    """R-218: none of them is ignored without a word."""
    found = loaded(tmp_path, monkeypatch, **{first: "http://a:1", second: "http://a:1"})
    assert found.upstreams == {"order-api": ("http://a:1",)}
    with pytest.raises(ConfigurationError, match="the same setting with different values") as caught:
        loaded(tmp_path, monkeypatch, **{first: "http://a:1", second: "http://b:1"})
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_a_role_that_a_variable_cannot_tell_from_another_is_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-218."""
    text = '[roles]\nback-office = ["a:b"]\nback_office = ["a:b"]\n'
    with pytest.raises(ConfigurationError, match="it may mean back-office or back_office; LOCKGATE_ROLES takes all"):
        loaded(tmp_path, monkeypatch, text, LOCKGATE_ROLES__BACK_OFFICE="a:b")


def test_one_value_wins_over_a_table_that_is_given_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-218: for every order of the variables."""
    found = loaded(tmp_path, monkeypatch, LOCKGATE_SERVER__PORT="2", LOCKGATE_SERVER='{"port": 1, "host": "127.0.0.2"}')
    assert (found.server.port, found.server.host) == (2, "127.0.0.2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCKGATE_PORT", "tcp://10.0.0.1:8080"),
        ("LOCKGATE_SERVICE_HOST", "10.0.0.1"),
        ("LOCKGATE_SERVICE_PORT", "8080"),
        ("LOCKGATE_SERVICE_PORT_HTTP", "8080"),
        ("LOCKGATE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("LOCKGATE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("LOCKGATE_OPERATIONS_PORT_9090_TCP_PROTO", "tcp"),
        ("LOCKGATE_OPERATIONS_PORT", "tcp://10.0.0.1:9090"),
    ],
)
def test_what_kubernetes_says_of_a_service_called_lockgate_is_not_meant_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """R-218: it sets these in every pod beside such a Service."""
    assert loaded(tmp_path, monkeypatch, **{name: value}).server.port == 8080
