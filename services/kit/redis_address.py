"""Addresses of Redis servers that stand for one another; the same that the gateway takes.

`redis+sentinel://[user:password@]host:port,host:port/master[/db]` and `redis+cluster://[user:password@]host:port,…`;
`rediss+…` speaks TLS, and may name the authorities that it trusts: `?ssl_ca_certs=/path`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from services.kit.errors import ConfigurationError

_ADDRESS: Final = re.compile(
    r"(?P<tls>rediss?)\+(?P<kind>sentinel|cluster)://"
    r"(?:(?P<username>[^:@/]*):(?P<password>[^@/]*)@)?"
    r"(?P<hosts>[^/?@]+)"
    r"(?:/(?P<master>[A-Za-z][A-Za-z0-9._-]*)(?:/(?P<db>[0-9]{1,5}))?)?/?"
    r"(?:\?ssl_ca_certs=(?P<authorities>[^&]+))?"
)
_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Group:
    """Servers that stand for one another.

    Attributes:
        hosts: (host, port) of Sentinels, or of some nodes of a Cluster.
        master: what the Sentinels call it; None for a Cluster.
        db: the database's number; a Cluster has only 0.
        options: for connections to the servers: `username`, `password`, `ssl`, `ssl_ca_certs`, as far as given.
    """

    hosts: tuple[tuple[str, int], ...]
    master: str | None
    db: int
    options: dict[str, str | bool]

    @property
    def tls(self) -> dict[str, str | bool]:
        """Those of the options that Sentinels share."""
        return {name: value for name, value in self.options.items() if name.startswith("ssl")}


def group(url: str) -> Group | None:
    """Read the address of a group; None for any other address.

    Raises:
        ConfigurationError: it is meant as one and is not well formed. The text has nothing of the address in it.
    """
    if not url.startswith(("redis+", "rediss+")):
        return None
    match = _ADDRESS.fullmatch(url)
    hosts = [_HOST.fullmatch(host) for host in match["hosts"].split(",")] if match else [None]
    if match is None or None in hosts or (match["kind"] == "sentinel") != (match["master"] is not None):
        raise ConfigurationError(
            "the Redis URL is not redis+sentinel://host:port,…/master or redis+cluster://host:port,…"
        )
    options: dict[str, str | bool] = {name: unquote(match[name]) for name in ("username", "password") if match[name]}
    if match["tls"] == "rediss":
        options["ssl"] = True
        if match["authorities"]:
            options["ssl_ca_certs"] = unquote(match["authorities"])
    places = tuple((host[1].strip("[]"), int(host[2])) for host in hosts if host is not None)
    return Group(places, match["master"], int(match["db"] or 0), options)
