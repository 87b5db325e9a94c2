from __future__ import annotations

import pytest

from services.kit.errors import ConfigurationError
from services.kit.settings import read_settings
from services.orders.settings import OrdersSettings
from services.users.settings import UsersSettings


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
