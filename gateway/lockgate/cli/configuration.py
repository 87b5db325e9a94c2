"""The configuration of a command: the file, over it the environment, and over both the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lockgate import settings as gateway_settings
from lockgate.cli.devstack import running
from lockgate.errors import ConfigurationError
from lockgate.policy.routes import RouteTable
from lockgate.settings import ServerSettings, describe_fault

if TYPE_CHECKING:
    from pathlib import Path

    from lockgate.settings import Settings


def load_of_deployment(file: Path | None, data: Path) -> Settings:
    """The configuration for a command about a deployment.

    Where a `lockgate dev` runs on this data folder, its variables count, too (`devstack.running`).

    Raises:
        ConfigurationError: the configuration is not acceptable.
    """
    settings = gateway_settings.load_settings(file, running.environment_of_stack(data, file, os.environ))
    RouteTable.from_settings(settings)
    return settings


def load_configuration(
    file: Path | None, *, host: str | None = None, port: int | None = None, workers: str | None = None
) -> Settings:
    """Read and check the configuration of a program to start, route table included; options replace its settings.

    Raises:
        ConfigurationError: the configuration is not acceptable.
    """
    settings = gateway_settings.load_settings(file)
    RouteTable.from_settings(settings)
    given = {"host": host, "port": port, "workers": workers}
    told = {name: value for name, value in given.items() if value is not None}
    try:
        # Checked again: a setting that fits one host need not fit another.
        server = ServerSettings(**{**settings.server.model_dump(), **told})
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)
        raise ConfigurationError(*(f"{_name_option(one['loc'])}: {describe_fault(one)}" for one in wrong)) from error
    return settings.model_copy(update={"server": server})


def _name_option(place: tuple[int | str, ...]) -> str:
    """The option that replaces a setting of the server; the section, where settings do not fit each other."""
    return f"--{place[0]}" if place else "server"
