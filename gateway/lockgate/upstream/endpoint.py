"""Where the connections of a pool go, and the name that the service's certificate has to have."""

from __future__ import annotations

import ssl
from typing import NamedTuple, Self

from lockgate.setting_values import upstream_address, upstream_path


class Endpoint(NamedTuple):
    """An address to connect to.

    Attributes:
        url: the configured upstream, `http://host:port` or `https://host:port`, maybe with a path.
        host: `host:port` of the URL, the value of Host.
        name: the host of the URL, which the certificate of an https service must have.
        address: the IP address to connect to; the host of the URL where no address is known.
        port: the port to connect to.
        tls: `None` for plain HTTP.
        path: the path of the URL, which every path at the service begins with; empty without one.
    """

    url: str
    host: str
    name: str
    address: str
    port: int
    tls: ssl.SSLContext | None
    path: str = ""

    @classmethod
    def of_url(cls, url: str, tls: ssl.SSLContext | None = None) -> Self:
        """The endpoint that a URL names."""
        name, port = upstream_address(url)
        path = upstream_path(url)
        return cls(url, url.partition("://")[2].removesuffix(path), name, name, port, tls, path)

    @property
    def tls_name(self) -> str | None:
        """The name that asyncio checks the certificate for; `None` for plain HTTP, as asyncio asks for."""
        return None if self.tls is None else self.name
