"""Where Redis is, as one address: a server, a master that Sentinels know, or a Cluster.

| address                                                   | what is there                                        |
|-----------------------------------------------------------|------------------------------------------------------|
| `redis://host:port/db` `rediss://…` `unix:///path?db=1`   | one server                                           |
| `redis+sentinel://host:port,host:port/master/db`          | Sentinels, and what they call the master             |
| `redis+cluster://host:port,host:port`                     | a few nodes of a Cluster; the others are found there |

`rediss://`, `rediss+sentinel://` and `rediss+cluster://` speak TLS. `user:password@` before the hosts is for the
servers; `@ : / ? # %` in either are percent-coded. TLS takes `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`,
`ssl_cert_reqs` and `ssl_check_hostname`; Sentinels take `sentinel_username` and `sentinel_password`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from lockgate_common.errors import ConfigurationError

SENTINEL: Final = "sentinel"
CLUSTER: Final = "cluster"
_SCHEME: Final = re.compile(rf"rediss?\+({SENTINEL}|{CLUSTER})")
_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_NAME: Final = re.compile(r"/([A-Za-z0-9._-]+)(?:/([0-9]{1,5}))?")
_DATABASE: Final = re.compile(r"(?:/([0-9]{1,5})?)?")
_REDIS_PORT: Final = 6379
_DEFAULT_PORTS: Final = {SENTINEL: 26379, CLUSTER: _REDIS_PORT}
_MAX_PORT: Final = 65535
TLS_KEY_FILE: Final = "ssl_keyfile"
TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", TLS_KEY_FILE)
"""The options that name files."""
_TLS_CHOICES: Final = {"ssl_cert_reqs": ("required", "optional", "none"), "ssl_check_hostname": ("true", "false")}
_TLS_OPTIONS: Final = frozenset({*TLS_FILES, *_TLS_CHOICES})
_SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})
_DB_OPTION: Final = frozenset({"db"})


@dataclass(frozen=True, slots=True)
class Server:
    """One server.

    Attributes:
        host: empty for a unix socket.
        port: 0 for a unix socket.
        path: of the unix socket; empty for a host.
        db: the database's number.
        login: `username` and `password`, as far as given.
        tls: redis-py's options for TLS; `None` without.
    """

    host: str
    port: int
    path: str
    db: int
    login: dict[str, str]
    tls: dict[str, Any] | None

    @property
    def place(self) -> str:
        """The address without what may be secret."""
        return self.path or _join_host(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Group:
    """Servers that stand for one another.

    Attributes:
        kind: `SENTINEL` or `CLUSTER`.
        hosts: (host, port) of Sentinels, or of some nodes of a Cluster.
        service: what the Sentinels call the master; empty for a Cluster.
        db: the database's number; a Cluster has only 0.
        login: `username` and `password` for the servers, as far as given.
        sentinel_login: `username` and `password` for the Sentinels, as far as given.
        tls: redis-py's options for TLS; `None` without.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    login: dict[str, str]
    sentinel_login: dict[str, str]
    tls: dict[str, Any] | None

    @property
    def place(self) -> str:
        """The address without what may be secret."""
        return ",".join(_join_host(*host) for host in self.hosts)


def read_address(url: str) -> Server | Group:
    """Where Redis is.

    Raises:
        ConfigurationError: the address is not well formed. The text has nothing of the address in it but the name of
            an option.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that do not fit, for example
        raise _refusal("not a URL; @ : / ? # % [ ] in user and password are percent-coded") from None
    scheme = _SCHEME.fullmatch(parts.scheme)
    return _read_server(parts) if scheme is None else _read_group(parts, scheme[1])


def _read_group(parts: SplitResult, kind: str) -> Group:
    login, hosts = _split_login(parts)
    service, db = _read_path(kind, parts)
    options = _read_options(_SENTINEL_OPTIONS if kind == SENTINEL else frozenset(), parts)
    return Group(
        kind=kind,
        hosts=tuple(_read_host(text, _DEFAULT_PORTS[kind]) for text in hosts.split(",")),
        service=service,
        db=db,
        login=login,
        sentinel_login=_without_empty(
            username=options.pop("sentinel_username", ""), password=options.pop("sentinel_password", "")
        ),
        tls=_read_tls_options(parts.scheme, options),
    )


def _read_server(parts: SplitResult) -> Server:
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise _refusal("not a redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// address")
    login, where = _split_login(parts)
    options = _read_options(_DB_OPTION, parts)
    if parts.scheme == "unix":
        if where or not parts.path.startswith("/"):
            raise _refusal("a socket is unix:///path, with three slashes")
        host, port, path, db = "", 0, unquote(parts.path), options.pop("db", "0")
    else:
        match = _DATABASE.fullmatch(parts.path)
        if match is None or (match[1] and "db" in options):
            raise _refusal("after host and port comes /database, a number, and nothing more")
        # redis://:6379 is what redis-py takes for localhost.
        host, port = _read_host(where if where and where[0] != ":" else f"localhost{where}", _REDIS_PORT)
        path, db = "", options.pop("db", match[1] or "0")
    if not db.isascii() or not db.isdecimal():
        raise _refusal("the database is a number")
    return Server(
        host=host, port=port, path=path, db=int(db), login=login, tls=_read_tls_options(parts.scheme, options)
    )


def _split_login(parts: SplitResult) -> tuple[dict[str, str], str]:
    """User and password, decoded, and what comes after them."""
    # A password's own '#' would cut the rest off, and the host would silently be another one.
    if parts.fragment:
        raise _refusal("@ : / ? # % in user and password are percent-coded")
    userinfo, _, where = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    return _without_empty(username=unquote(username), password=unquote(password)), where


def _read_tls_options(scheme: str, options: dict[str, str]) -> dict[str, Any] | None:
    if not scheme.startswith("rediss"):
        return None
    for name, choices in _TLS_CHOICES.items():
        if name in options and options[name] not in choices:
            raise _refusal(f"{name} is one of {', '.join(choices)}")
    return {name: value == "true" if name == "ssl_check_hostname" else value for name, value in options.items()}


def _join_host(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_host(text: str, default_port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    port = int(match[2] or default_port) if match else 0
    if match is None or not 0 < port <= _MAX_PORT:
        raise _refusal("hosts are host:port,host:port and so on")
    return match[1].strip("[]"), port


def _read_path(kind: str, parts: SplitResult) -> tuple[str, int]:
    if kind == CLUSTER:
        if parts.path not in ("", "/", "/0"):
            raise _refusal("a Cluster has only the database 0, and no path in its address")
        return "", 0
    match = _NAME.fullmatch(parts.path)
    if match is None:
        raise _refusal("after the Sentinels comes /name-of-the-master, and /database if it is not 0")
    return match[1], int(match[2] or 0)


def _read_options(known: frozenset[str], parts: SplitResult) -> dict[str, str]:
    if parts.scheme.startswith("rediss"):
        known |= _TLS_OPTIONS
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not options.keys() <= known:
        raise _refusal(f"the options of this kind of address are {', '.join(sorted(known)) or 'none'}")
    return options


def _without_empty(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _refusal(why: str) -> ConfigurationError:
    return ConfigurationError(f"redis_url: {why}")
