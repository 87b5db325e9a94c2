"""What every service can be told by the environment, each under its own prefix (`USERS_`, `ORDERS_`, `PRODUCTS_`)."""

import difflib
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from lockgate_shop.kit.errors import ConfigurationError
from lockgate_trust import LEEWAY_S

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_LINK: Final = re.compile(r"\w+_(service_host|service_port(_\w+)?|port_[0-9]+_(tcp|udp|sctp)(_(proto|port|addr))?)")
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://.*")
"""What Kubernetes sets in every pod beside a Service that is called like one of ours is not meant as a setting."""
_NEAR: Final = 0.85
"""How alike a variable and a setting are where the one was meant to be the other."""


class ServiceSettings(BaseSettings):
    """Settings that all services share; frozen, and read once at start."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: str = Field(default="sqlite:///:memory:", repr=False)
    """`sqlite:///file` or `postgresql://…`; never printed, for it may hold a password."""
    database_replica_url: str | None = Field(default=None, repr=False)
    """A read-only copy of it that may lag behind, for what tolerates that; see `Database.read_lagging`."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    link_keys: Path = Path("keys/links")
    """The folder with this service's link keys."""
    pool_size: Annotated[int, Field(ge=1, le=200)] = 5
    """Database connections that this process keeps and may use at once."""
    pool_wait_s: Annotated[float, Field(gt=0, le=60)] = 5
    """How long a request waits for one of them before it is answered 503."""
    clock_leeway_s: Annotated[int, Field(ge=0, le=60)] = LEEWAY_S
    """How far this machine's clock and those of its callers may differ; what the gateways have as `token.leeway_s`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_s: Annotated[int, Field(ge=1, le=600)] = 10
    """How long a service that was told to stop waits for requests in flight."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the command line, then the environment without what Kubernetes has put there."""
        del settings_cls, dotenv_settings, file_secret_settings
        if isinstance(env_settings, EnvSettingsSource):
            env_settings.env_vars = {
                name: value for name, value in env_settings.env_vars.items() if not _is_link(name, value or "")
            }
        return init_settings, env_settings

    @field_validator("database_url", "database_replica_url")
    @classmethod
    def _asynchronous_driver(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            url = make_url(value)
        except ArgumentError:
            raise ValueError("not a database URL") from None
        driver = DRIVERS.get(url.get_backend_name())
        if driver is None:
            raise ValueError("neither sqlite nor postgresql")
        return url.set(drivername=driver).render_as_string(hide_password=False)


S = TypeVar("S", bound=ServiceSettings)


def read_settings(kind: type[S], **given: object) -> S:
    """Read a service's settings.

    Args:
        kind: which service's.
        given: values that win over the environment, such as those of the command line.

    Raises:
        ConfigurationError: a value is not acceptable, or a variable is nearly a setting. The text names the variable
            and the rule, never the value.
    """
    _look_for_strangers(kind)
    try:
        return kind(**given)  # type: ignore[arg-type] # pydantic judges the values
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        variable = f"{kind.model_config['env_prefix']}{'_'.join(str(part) for part in first['loc'])}".upper()
        raise ConfigurationError(f"{variable}: {first['msg']}") from None


def _look_for_strangers(kind: type[ServiceSettings]) -> None:
    """Name every variable with the service's prefix that is no setting: what was mistyped must not be ignored."""
    prefix = kind.model_config["env_prefix"].upper()
    known = [f"{prefix}{name}".upper() for name in kind.model_fields]
    for name, value in os.environ.items():
        if not name.upper().startswith(prefix) or name.upper() in known or _is_link(name, value):
            continue
        if near := difflib.get_close_matches(name.upper(), known, n=1, cutoff=_NEAR):
            raise ConfigurationError(f"{name}: there is no such setting; did you mean {near[0]}?")
        print(f"{name}: there is no such setting, so it is ignored", file=sys.stderr)  # noqa: T201 - at the start


def _is_link(name: str, value: str) -> bool:
    lower = name.lower()
    return bool(_LINK.fullmatch(lower)) or (lower.endswith("_port") and bool(_LINK_VALUE.fullmatch(value)))
