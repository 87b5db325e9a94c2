"""Kinds of values in the configuration, and the shape that every section of it has."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from lockgate.origin import normalize_origin

ShortName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
KIB = 1024
MAX_PORT = 65535
_UPSTREAM: Final = re.compile(
    r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})"
    r"((?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)*)"
)
"""The path has characters that are never coded: every reader sees the same segments."""
_HOST_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*|\[[0-9a-f:.]{2,45}\]")
FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'+.^_`|~-]{1,64}")
CREDENTIAL_FIELDS: Final = frozenset({"authorization", "set-cookie", "set-cookie2", "cookie"})
"""Header fields that no page may read, even where a service exposes them."""


def upstream_address(url: str) -> tuple[str, int]:
    """Host and port of `http://host:port` or `https://host:port`, with or without a path.

    Raises:
        ValueError: another scheme, a slash at the end, a query, user information, or no valid port.
    """
    match = _match_upstream(url)
    return match[1].strip("[]"), int(match[2])


def upstream_path(url: str) -> str:
    """The path of an upstream's address, under which the service gets every request; empty without one.

    Raises:
        ValueError: as for `upstream_address`.
    """
    return _match_upstream(url)[3]


def _match_upstream(url: str) -> re.Match[str]:
    match = _UPSTREAM.fullmatch(url)
    if match is None or not 0 < int(match[2]) <= MAX_PORT:
        raise ValueError(
            "an upstream is http(s)://host:port, maybe with a path that has no '%', ';' or slash at its end"
        )
    return match


def is_loopback(host: str) -> bool:
    """Whether a host is an address of this machine that other machines cannot reach."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _plain_address(url: str) -> str:
    upstream_address(url)
    return url


def parse_host_name(text: str) -> str:
    """The canonical spelling of a host name.

    Raises:
        ValueError: it is none, as requests have it.
    """
    name = text.lower().removesuffix(".")
    if not name.isascii():
        raise ValueError(f"{text!r} is no host name as requests have it; its A-label form begins with xn--")
    if _HOST_NAME.fullmatch(name) is None:
        raise ValueError(f"{text!r} is no host name; one is such as api.example, without scheme, port, path and '*'")
    return f"[{IPv6Address(name[1:-1])}]" if name.startswith("[") else name


def _host_pattern(text: str) -> str:
    """A host name, or `*.` and a host name, which stands for one or more labels before the name."""
    if not text.startswith("*."):
        return parse_host_name(text)
    name = parse_host_name(text[2:])
    if name.startswith("[") or name.rpartition(".")[2].isdigit():
        raise ValueError(f"{text!r}: an address has no labels before it; list each address")
    return f"*.{name}"


def _exposed_name(name: str) -> str:
    if FIELD_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a header field; one is such as X-Total-Count")
    if name.lower() in CREDENTIAL_FIELDS:
        raise ValueError(f"{name!r} holds credentials, which no page may read")
    return name


Upstreams = Annotated[tuple[Annotated[str, AfterValidator(_plain_address)], ...], Field(min_length=1)]
Origin = Annotated[str, AfterValidator(normalize_origin)]
Origins = tuple[Origin, ...]
ExposedName = Annotated[str, AfterValidator(_exposed_name)]
HostName = Annotated[str, AfterValidator(parse_host_name)]
HostPattern = Annotated[str, AfterValidator(_host_pattern)]


class Section(BaseModel):
    """A table of the configuration: frozen, and without settings that nothing reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _parse_network(text: object) -> object:
    """A network; an error names the network that the operator probably meant."""
    if not isinstance(text, str):
        return text
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError("no address or network, such as '10.0.0.0/8'") from error
    raise ValueError(f"it has bits beyond its network, which would be '{meant}'")


Networks = tuple[Annotated[IPv4Network | IPv6Network, BeforeValidator(_parse_network)], ...]
