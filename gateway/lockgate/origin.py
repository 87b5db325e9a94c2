"""Origins as browsers and apps send them (RFC 6454 section 6.2): scheme, host, and a port that is not the default."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

_ORIGIN: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII
)
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65535
_SHARED_SCHEMES: Final = frozenset({"about", "blob", "content", "data", "file", "filesystem", "javascript"})
"""Browsers give pages of these schemes the origin `null`, or one that every file on every device shares."""
_NEVER_SENT: Final = {"ws": "http", "wss": "https"}


def normalize_origin(text: str) -> str:
    """An origin in the spelling that browsers send: `HTTPS://Shop.example:443/` becomes `https://shop.example`.

    Args:
        text: the origin of a website or an app (`capacitor://localhost`, `chrome-extension://…`), as configured.

    Raises:
        ValueError: no browser sends this origin, or pages of any author share it. The text names the right value.
    """
    quoted = "a value with '@' in it" if "@" in text else repr(text)  # before an @ there may be a password
    if text in {"*", "null"}:
        raise ValueError(f"{quoted} would be the pages of everybody; list each origin, such as https://shop.example")
    if "*" in text:
        raise ValueError(f"{quoted}: an origin is compared to the letter, not as a pattern; list each origin")
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError(
            f"{quoted} has no scheme; an origin is https://{_host_of(text)} or <scheme of the app>://<host>"
        )
    scheme = scheme.lower()
    if scheme in _SHARED_SCHEMES:
        raise ValueError(f"{quoted}: any file of any device could have this origin; serve the page over https")
    if scheme in _NEVER_SENT:
        raise ValueError(f"{quoted}: the origin is that of the page, {_NEVER_SENT[scheme]}://{_host_of(rest)}")
    match = _ORIGIN.fullmatch(text.removesuffix("/") if rest.strip("/") else text)
    if match is None:
        raise ValueError(f"{quoted} is no origin; it would be {scheme}://{_host_of(rest)}")
    host, port = match[2], int(match[3]) if match[3] else None
    if port is not None and not 0 < port <= _MAX_PORT:
        raise ValueError(f"{quoted}: there is no such port")
    if scheme in _USUAL_PORTS:
        if not host:
            raise ValueError(f"{quoted} has no host; an origin is {scheme}://<host>")
        host, port = _web_host(quoted, host), None if port == _USUAL_PORTS[scheme] else port
    return f"{scheme}://{host}" if port is None else f"{scheme}://{host}:{port}"


def origin_of_url(url: str) -> str:
    """The origin of an http or https URL.

    Raises:
        ValueError: the URL has no valid origin.
    """
    scheme, _, rest = url.partition("://")
    return normalize_origin(f"{scheme}://{rest.partition('/')[0]}")


def _web_host(quoted: str, host: str) -> str:
    """A host as the URL standard serializes it: lower case, an IPv6 address in its shortest form."""
    if not host.startswith("["):
        return host.lower()
    try:
        return f"[{IPv6Address(host[1:-1])}]"
    except AddressValueError:
        raise ValueError(f"{quoted} has no valid IPv6 address") from None


def _host_of(rest: str) -> str:
    """The host that a mistaken value may mean: without path, query and user, in ASCII."""
    host = re.split(r"[/?#\\]", rest.lstrip("/"))[0].rpartition("@")[2]
    try:
        return host.encode("idna").decode("ascii") or "<host>"
    except UnicodeError:
        return "<host>"
