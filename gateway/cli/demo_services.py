"""The demo services of `lockgate dev`: which of them run here, where, and as which children."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from gateway.cli import addresses, keys, probes
from gateway.cli.process import python_module
from gateway.cli.supervisor import Child
from gateway.settings import upstream_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cli.addresses import Ports
    from gateway.cli.data_folder import DataFolder
    from gateway.cli.supervisor import Say
    from gateway.settings import Settings

CALLS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"users": frozenset(), "products": frozenset(), "orders": frozenset({"products"})}
)
"""Every demo service, and which of the others it calls."""

_GRACE_S: Final = 15
"""A little more than a service itself waits for requests in flight."""


@dataclass(frozen=True, slots=True)
class DemoServices:
    """Those demo services that run here.

    Attributes:
        settings: of the gateway.
        places: host and port of each, by name.
    """

    settings: Settings
    places: Mapping[str, tuple[str, int]]

    @classmethod
    def placed(cls, settings: Settings, ports: Ports, say: Say) -> Self:
        """Choose: those with a route that leads to this machine and nowhere else, on its port where that is free.

        Raises:
            ConfigurationError: there is no free port.
        """
        places = {}
        for name in CALLS:
            configured = [upstream_address(url) for url in settings.addresses(name)]
            if not configured or not all(addresses.is_loopback(host) for host, _ in configured):
                continue
            host, wanted = configured[0]
            # By number, so that the service, the gateway and the look for a free port mean the same.
            host = "127.0.0.1" if host == "localhost" else host
            port = ports.take(host, wanted)
            if port != wanted:
                say(name, f"port {wanted} is taken, using {port}")
            places[name] = (host, port)
        return cls(settings, places)

    @property
    def complete(self) -> bool:
        """Whether all of them run here."""
        return self.places.keys() == CALLS.keys()

    @property
    def links(self) -> list[tuple[str, str]]:
        """The links among services that those here need, as (origin, target)."""
        return [(origin, target) for origin in self.places for target in CALLS[origin]]

    @property
    def upstreams(self) -> dict[str, str]:
        """The environment that tells the gateway where they are."""
        return {f"LOCKGATE_UPSTREAMS__{name.upper()}": f'["{addresses.url(*at)}"]' for name, at in self.places.items()}

    def children(self, folder: DataFolder, env: Mapping[str, str], *, seed: bool) -> list[Child]:
        """The services as children to supervise.

        Args:
            folder: for their databases and logs.
            env: what their environments have in common.
            seed: whether they make demo data.
        """
        return [self._child(name, folder, env, ["--seed-demo"] if seed else []) for name in self.places]

    def _child(self, name: str, folder: DataFolder, env: Mapping[str, str], options: list[str]) -> Child:
        host, port = self.places[name]
        prefix = name.upper()
        own = {f"{prefix}_LINK_KEYS": str(keys.links_directory(self.settings).resolve())}
        for target in CALLS[name]:
            if called := self._address(target):
                own[f"{prefix}_{target.upper()}_URL"] = called
        return Child(
            name=name,
            argv=python_module(f"services.{name}", "--host", host, "--port", str(port), *options),
            # A database that somebody has set up for the service is theirs to keep.
            env={f"{prefix}_DATABASE_URL": folder.database(name), **env, **own},
            probe=probes.http(host, port, "/readyz"),
            uses=CALLS[name] & self.places.keys(),
            log=folder.log(name),
            grace_s=_GRACE_S,
        )

    def _address(self, name: str) -> str | None:
        if name in self.places:
            return addresses.url(*self.places[name])
        return next(iter(self.settings.addresses(name)), None)
