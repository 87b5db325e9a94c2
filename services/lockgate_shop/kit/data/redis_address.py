"""Addresses of Redis, as the gateway takes them, too.

| address                                                                     | what is there                    |
|-----------------------------------------------------------------------------|----------------------------------|
| `redis://[user:password@]host[:port][/db]`, `unix:///path[?db=…]`           | one server                       |
| `redis+sentinel://[user:password@]host[:port],…/master[/db]`                | Sentinels, and their master      |
| `redis+cluster://[user:password@]host[:port],…`                             | some nodes of a Cluster          |

`rediss…` speaks TLS, and takes `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs` and `ssl_check_hostname`;
Sentinels take `sentinel_username` and `sentinel_password`. `@ : / ? # %` in user and password are percent-coded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from lockgate_shop.kit.errors import ConfigurationError

_ADDRESS: Final = re.compile(
    r"(?P<scheme>redis|rediss|unix)(?:\+(?P<group>sentinel|cluster))?://"
    r"(?:(?P<username>[^:/?#]*)(?::(?P<password>[^/?#]*))?@)?"
    r"(?P<hosts>[^/?#@]*)"
    r"(?P<path>/[^?#]*)?"
    r"(?:\?(?P<options>[^#]*))?"
)
_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_MASTER: Final = re.compile(r"/([A-Za-z0-9._-]+)(?:/([0-9]{1,5}))?")
_DATABASE: Final = re.compile(r"(?:/([0-9]{1,5})?)?")
_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_MAX_PORT: Final = 65535
_TLS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
_SENTINEL: Final = frozenset({"sentinel_username", "sentinel_password"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is.

    Attributes:
        hosts: (host, port) of one server, of Sentinels, or of some nodes of a Cluster; empty for a unix socket.
        master: what the Sentinels call it; None without Sentinels.
        cluster: whether it is a Cluster.
        path: of a unix socket; None for hosts.
        db: the database's number; a Cluster has only 0.
        login: `username` and `password` for the servers, as far as given.
        sentinel_login: the same for the Sentinels.
        tls: redis-py's and coredis' options for TLS; None without.
    """

    hosts: tuple[tuple[str, int], ...]
    master: str | None
    cluster: bool
    path: str | None
    db: int
    login: dict[str, str]
    sentinel_login: dict[str, str]
    tls: dict[str, Any] | None

    @property
    def secured(self) -> dict[str, Any]:
        """The options for TLS with the word for it, or nothing."""
        return {} if self.tls is None else {"ssl": True, **self.tls}


def read(url: str) -> Address:
    """Read an address.

    Raises:
        ConfigurationError: it is none. The text has nothing of the address in it.
    """
    match = _ADDRESS.fullmatch(url)
    if match is None:
        raise _refused("it is redis://, rediss://, unix:///, redis+sentinel:// or redis+cluster://, and what follows")
    tls, group = match["scheme"] == "rediss", match["group"]
    options = _options(match["options"] or "", tls=tls, group=group)
    hosts, path, master, db = _place(match, options.pop("db", None))
    sentinel = {name: options.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    login = {name: unquote(match[name] or "") for name in ("username", "password")}
    return Address(
        hosts=hosts,
        master=master,
        cluster=group == "cluster",
        path=path,
        db=db,
        login={name: value for name, value in login.items() if value},
        sentinel_login={name: value for name, value in sentinel.items() if value},
        tls=_tls(options) if tls else None,
    )


def _place(match: re.Match[str], db: str | None) -> tuple[tuple[tuple[str, int], ...], str | None, str | None, int]:
    """Hosts, the path of a socket, the master's name, and the database."""
    hosts, path, group = match["hosts"], match["path"] or "", match["group"]
    if match["scheme"] == "unix":
        if group or hosts or not path:
            raise _refused("a socket is unix:///path")
        return (), unquote(path), None, _number(db or "0")
    if group == "sentinel":
        named = _MASTER.fullmatch(path)
        if named is None:
            raise _refused("after the Sentinels comes /name-of-the-master, and /database if it is not 0")
        return _hosts(hosts, _SENTINEL_PORT), None, named[1], int(named[2] or 0)
    if group == "cluster":
        if path not in ("", "/", "/0"):
            raise _refused("a Cluster has only the database 0")
        return _hosts(hosts, _REDIS_PORT), None, None, 0
    numbered = _DATABASE.fullmatch(path)
    if numbered is None or (numbered[1] and db) or "," in hosts:
        raise _refused("one server is host:port, and /database if it is not 0")
    where = hosts if hosts and hosts[0] != ":" else f"localhost{hosts}"
    return _hosts(where, _REDIS_PORT), None, None, _number(db or numbered[1] or "0")


def _hosts(text: str, default_port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for host in text.split(","):
        match = _HOST.fullmatch(host)
        port = int(match[2] or default_port) if match else 0
        if match is None or not 0 < port <= _MAX_PORT:
            raise _refused("hosts are host:port; @ : / ? # % in user and password are percent-coded")
        found.append((match[1].strip("[]"), port))
    return tuple(found)


def _options(text: str, *, tls: bool, group: str | None) -> dict[str, str]:
    own = _SENTINEL if group == "sentinel" else frozenset({"db"}) if group is None else frozenset()
    known = own | (_TLS if tls else frozenset())
    options = dict(parse_qsl(text, keep_blank_values=True))
    if not options.keys() <= known:
        raise _refused(f"the options of this kind of address are {', '.join(sorted(known)) or 'none'}")
    return options


def _tls(options: dict[str, str]) -> dict[str, Any]:
    return {name: value == "true" if name == "ssl_check_hostname" else value for name, value in options.items()}


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise _refused("the database is a number")
    return int(text)


def _refused(why: str) -> ConfigurationError:
    return ConfigurationError(f"the Redis URL: {why}")
