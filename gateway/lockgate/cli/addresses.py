"""Addresses to listen on: bound by this process, or chosen for a child that binds its own."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Final, Self

from lockgate.errors import ConfigurationError, quoted

_BACKLOG: Final = 2048
_ATTEMPTS: Final = 100
_WILDCARDS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not bound


def bind_listener(host: str, port: int) -> socket.socket:
    """Bind and listen; port 0 takes a free one.

    Raises:
        ConfigurationError: the address is in use, not ours, or not an address.
    """
    try:
        return _is_listening(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(f"port {port} on {host} is in use; choose another with --port") from error
        raise ConfigurationError(f"cannot listen on {base_url(host, port)} ({_reason_of(error)})") from error
    except UnicodeError as error:  # what getaddrinfo makes of a name with an impossible label
        raise ConfigurationError(f"cannot listen on {quoted(host)}: not a host name") from error


def adopt_listener(descriptor: int) -> socket.socket:
    """Take over a listening socket that the parent process bound.

    Raises:
        ConfigurationError: the descriptor is no listening socket.
    """
    try:
        adopted = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigurationError(f"--fd {descriptor}: not a socket ({_reason_of(error)})") from error
    if not adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        adopted.detach()
        raise ConfigurationError(f"--fd {descriptor}: not a listening socket")
    return adopted


def base_url(host: str, port: int, scheme: str = "http") -> str:
    """The base URL for a listening address, as a user of this machine would type it."""
    reachable = reachable_host(host)
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"


def reachable_host(host: str) -> str:
    """The address to connect to on this machine for a listening address."""
    return _WILDCARDS.get(host, host)


class Ports:
    """Ports for children that bind them themselves. Each is claimed against other stacks of this machine until closed.

    Between looking whether a port is free and the child's binding it lie hundreds of milliseconds, in which a second
    stack would look, too. On Linux a name in the abstract socket namespace is the claim: it belongs to the same network
    namespace as the port, and goes with the process that holds it, however that ends. Elsewhere nothing is claimed.
    """

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._claims:
            self._claims.pop().close()

    def take_port(self, host: str, wanted: int) -> int:
        """The wanted port where it is free, another port where not.

        Raises:
            ConfigurationError: this machine has no such address, or no free port.
        """
        for port in (wanted, *(0 for _ in range(_ATTEMPTS))):
            try:
                with _is_listening(host, port) as found:
                    free = int(found.getsockname()[1])
            except OSError as error:
                if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                    continue
                raise ConfigurationError(f"cannot listen on {base_url(host, port)} ({_reason_of(error)})") from error
            if self._claim_port(free):
                return free
        raise ConfigurationError(f"no port is free on {host}")

    def _claim_port(self, port: int) -> bool:
        if sys.platform != "linux":
            return True
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0lockgate-dev-port-{port}")
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True


def _is_listening(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address, family=family, backlog=_BACKLOG)


def _reason_of(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)
