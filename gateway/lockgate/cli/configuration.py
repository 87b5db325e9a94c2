"""The configuration of a command: the file, over it the environment, and over both the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pydantic import ValidationError

from lockgate import settings as gateway_settings
from lockgate.cli.devstack import running
from lockgate.errors import ConfigurationError
from lockgate.policy.routes import RouteTable
from lockgate.settings import ServerSettings, describe_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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


class Configured(NamedTuple):
    """The configuration of a program that runs.

    Attributes:
        file: the configuration file; `None`: the default one.
        text: what it has held at the start.
        parse: reads and checks a text, with the variables and options of the start.
    """

    file: Path | None
    text: str
    parse: Callable[[str], Settings]


class Parser(Protocol):
    """Reads and checks the text of a configuration file, with the options of a program."""

    def __call__(self, text: str, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings; of the variables `environ`, or those of this process. Raises `ConfigurationError`."""


def parser(file: Path | None, *, host: str | None, port: int | None, workers: str | None) -> Parser:
    """What parses texts of a configuration file later on; the options replace its settings."""

    def parse(text: str, environ: Mapping[str, str] | None = None) -> Settings:
        return load_configuration(file, host=host, port=port, workers=workers, text=text, environ=environ)

    return parse


def load_configuration(  # noqa: PLR0913 - the options of a program
    file: Path | None,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: str | None = None,
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read and check the configuration of a program to start, route table included; options replace its settings.

    Args:
        file: the configuration file.
        host: the option.
        port: the option.
        workers: the option.
        text: what the file has held when it was read; `None`: the file is read here.
        environ: the variables; `None`: those of this process.

    Raises:
        ConfigurationError: the configuration is not acceptable.
    """
    settings = gateway_settings.load_settings(file, environ, text=text)
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
