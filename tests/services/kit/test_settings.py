from __future__ import annotations

import pytest

from lockgate_shop.kit.errors import ConfigurationError
from lockgate_shop.kit.settings import read_settings
from lockgate_shop.orders.settings import OrdersSettings
from lockgate_shop.users.settings import UsersSettings


def test_each_service_reads_its_own_prefix_and_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USERS_PORT", "4711")
    monkeypatch.setenv("USERS_HOST", "0.0.0.0")  # noqa: S104 - only read, nobody listens
    settings = read_settings(UsersSettings, host="127.0.0.1")
    assert (settings.host, settings.port) == ("127.0.0.1", 4711)
    assert read_settings(OrdersSettings).port == 8102


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:///file.db", "sqlite+aiosqlite"),
        ("postgres://u:secret@h/d", "postgresql+asyncpg"),
        ("postgresql://u:secret@h/d", "postgresql+asyncpg"),
        ("postgresql+psycopg://u:secret@h/d", "postgresql+asyncpg"),
    ],
)
def test_a_database_url_gets_the_driver_we_use(given: str, driver: str) -> None:
    settings = read_settings(UsersSettings, database_url=given)
    assert settings.database_url.startswith(f"{driver}://")
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USERS_DATABASE_URL", "mysql://root:hunter2@localhost/users"),
        ("USERS_DATABASE_URL", "hunter2"),
        ("USERS_PORT", "99999"),
        ("USERS_HASHING_THREADS", "hunter2"),
        ("USERS_LOG_LEVEL", "hunter2"),
    ],
)
def test_a_value_that_is_not_acceptable_is_named_but_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        read_settings(UsersSettings)
    assert str(refused.value).startswith(f"{name}: ")
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("USERS_PROT", "USERS_PORT"),
        ("USERS_DATABASE__URL", "USERS_DATABASE_URL"),
        ("USERS_DATABASEURL", "USERS_DATABASE_URL"),
        ("users_link_key", "USERS_LINK_KEYS"),
    ],
)
def test_a_variable_that_is_nearly_a_setting_is_refused_with_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, name: str, right: str
) -> None:
    """R-218."""
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(ConfigurationError) as refused:
        read_settings(UsersSettings)
    assert str(refused.value) == f"{name}: there is no such setting; did you mean {right}?"


def test_any_other_variable_with_the_prefix_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-218: it may be somebody else's, such as a password that the compose file reads."""
    monkeypatch.setenv("USERS_DB_PASSWORD", "hunter2")
    read_settings(UsersSettings)
    assert capsys.readouterr().err == "USERS_DB_PASSWORD: there is no such setting, so it is ignored\n"


def test_what_kubernetes_says_of_a_service_called_users_is_not_meant_as_a_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-218: it sets these in every pod beside such a Service."""
    monkeypatch.setenv("USERS_PORT", "tcp://10.0.0.1:8101")
    monkeypatch.setenv("USERS_PORT_8101_TCP_ADDR", "10.0.0.1")
    monkeypatch.setenv("USERS_SERVICE_HOST", "10.0.0.1")
    assert read_settings(UsersSettings).port == 8101
    assert capsys.readouterr().err == ""
