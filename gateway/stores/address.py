"""Where Redis is, as one address: a server, a master that Sentinels know, or a Cluster.

| address                                                   | what is there                                        |
|-----------------------------------------------------------|------------------------------------------------------|
| `redis://host:port/db` `rediss://…` `unix://path`         | one server; read by redis-py                         |
| `redis+sentinel://host:port,host:port/master/db`          | Sentinels, and what they call the master             |
| `redis+cluster://host:port,host:port`                     | a few nodes of a Cluster; the others are found there |

`rediss+sentinel://` and `rediss+cluster://` speak TLS. `user:password@` before the hosts is for the servers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from gateway.errors import ConfigurationError

SENTINEL: Final = "sentinel"
CLUSTER: Final = "cluster"
_SCHEME: Final = re.compile(rf"rediss?\+({SENTINEL}|{CLUSTER})")
_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_NAME: Final = re.compile(r"/([A-Za-z0-9._-]+)(?:/([0-9]{1,5}))?")
_DEFAULT_PORTS: Final = {SENTINEL: 26379, CLUSTER: 6379}
_MAX_PORT: Final = 65535
_TLS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})


@dataclass(frozen=True, slots=True)
class Group:
    """Servers that stand for one another.

    Attributes:
        kind: `SENTINEL` or `CLUSTER`.
        hosts: (host, port) of Sentinels, or of some nodes of a Cluster.
        service: what the Sentinels call the master; empty for a Cluster.
        db: the database's number; a Cluster has only 0.
        login: `username` and `password` for the servers, as far as given.
        sentinel_login: the same for the Sentinels.
        tls: redis-py's options for TLS; `None` without.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    login: dict[str, str]
    sentinel_login: dict[str, str]
    tls: dict[str, str] | None


def group(url: str) -> Group | None:
    """Read the address of a group of servers; `None` for any other address.

    Raises:
        ConfigurationError: it is meant as one and is not well formed. The text has nothing of the address in it.
    """
    parts = urlsplit(url)
    scheme = _SCHEME.fullmatch(parts.scheme)
    if scheme is None:
        return None
    kind = scheme[1]
    userinfo, _, hosts = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    service, db = _path(kind, parts)
    options = _options(kind, parts)
    return Group(
        kind=kind,
        hosts=tuple(_host(text, _DEFAULT_PORTS[kind]) for text in hosts.split(",")),
        service=service,
        db=db,
        login=_given(username=unquote(username), password=unquote(password)),
        sentinel_login=_given(
            username=options.pop("sentinel_username", ""), password=options.pop("sentinel_password", "")
        ),
        tls=options if parts.scheme.startswith("rediss") else None,
    )


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    port = int(match[2] or default_port) if match else 0
    if match is None or not 0 < port <= _MAX_PORT:
        raise _refused("hosts are host:port,host:port and so on")
    return match[1].strip("[]"), port


def _path(kind: str, parts: SplitResult) -> tuple[str, int]:
    if kind == CLUSTER:
        if parts.path not in ("", "/", "/0"):
            raise _refused("a Cluster has only the database 0, and no path in its address")
        return "", 0
    match = _NAME.fullmatch(parts.path)
    if match is None:
        raise _refused("after the Sentinels comes /name-of-the-master, and /database if it is not 0")
    return match[1], int(match[2] or 0)


def _options(kind: str, parts: SplitResult) -> dict[str, str]:
    known = _SENTINEL_OPTIONS if kind == SENTINEL else frozenset()
    if parts.scheme.startswith("rediss"):
        known |= _TLS_OPTIONS
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not options.keys() <= known:
        raise _refused(f"the options of this kind of address are {', '.join(sorted(known)) or 'none'}")
    return options


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _refused(why: str) -> ConfigurationError:
    return ConfigurationError(f"redis_url: {why}")
