"""What every service can be told by the environment, each under its own prefix (`USERS_`, `ORDERS_`, `PRODUCTS_`)."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from services.kit.errors import ConfigurationError
from trust import LEEWAY_S

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


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
        ConfigurationError: a value is not acceptable. The text names the variable and the rule, never the value.
    """
    try:
        return kind(**given)  # type: ignore[arg-type] # pydantic judges the values
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        variable = f"{kind.model_config['env_prefix']}{'_'.join(str(part) for part in first['loc'])}".upper()
        raise ConfigurationError(f"{variable}: {first['msg']}") from None
