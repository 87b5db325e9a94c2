"""The configuration as a command sees it: the file and the environment, and over them the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lockgate import settings as gateway_settings
from lockgate.cli.devstack import running
from lockgate.errors import ConfigurationError
from lockgate.policy.routes import RouteTable
from lockgate.settings import ServerSettings

if TYPE_CHECKING:
    from pathlib import Path

    from lockgate.settings import Settings


def load_of_deployment(file: Path | None, data: Path) -> Settings:
    """The configuration for a command about a deployment: that of the stack that runs here, where none other is meant.

    Args:
        file: instead of `lockgate.toml`.
        data: the data folder of the stack.

    Raises:
        ConfigurationError: it is not acceptable.
    """
    settings = gateway_settings.load_settings(file, running.environment_of_stack(data, file, os.environ))
    RouteTable.from_settings(settings)
    return settings


def load_configuration(
    file: Path | None, *, host: str | None = None, port: int | None = None, workers: int | None = None
) -> Settings:
    """Read and check the configuration of what is started here, route table included.

    Args:
        file: instead of `lockgate.toml`.
        host: instead of `server.host`.
        port: instead of `server.port`.
        workers: instead of `server.workers`.

    Raises:
        ConfigurationError: it is not acceptable.
    """
    settings = gateway_settings.load_settings(file)
    RouteTable.from_settings(settings)
    given = {"host": host, "port": port, "workers": workers}
    told = {name: value for name, value in given.items() if value is not None}
    try:
        # Checked again: what fits one host need not fit another.
        server = ServerSettings(**{**settings.server.model_dump(), **told})
    except ValidationError as error:
        raise ConfigurationError(f"server: {error.errors(include_input=False, include_url=False)[0]['msg']}") from error
    return settings.model_copy(update={"server": server})
