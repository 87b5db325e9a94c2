"""The configuration as a command sees it: the file and the environment, and over them the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import settings as gateway_settings
from gateway.policy.routes import RouteTable

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings


def load(
    file: Path | None, *, host: str | None = None, port: int | None = None, workers: int | None = None
) -> Settings:
    """Read and check the configuration, route table included.

    Args:
        file: instead of `lockgate.toml`.
        host: instead of `server.host`.
        port: instead of `server.port`.
        workers: instead of `server.workers`.

    Raises:
        ConfigurationError: it is not acceptable.
    """
    settings = gateway_settings.load(file)
    RouteTable.compile(settings)
    given = {"host": host, "port": port, "workers": workers}
    server = settings.server.model_copy(update={name: value for name, value in given.items() if value is not None})
    return settings.model_copy(update={"server": server})
