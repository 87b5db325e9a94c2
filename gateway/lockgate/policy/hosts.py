"""The hosts of routes: names, and `*.` with a name, which stands for one or more labels before the name."""

from __future__ import annotations

from typing import Final

WILDCARD: Final = "*."
_LOCAL: Final = "localhost"


def strip_port(host: str) -> str:
    """A canonical host without its port."""
    return host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host


def is_address(host: str) -> bool:
    """Whether a host without port is an IP address, `localhost`, or empty, as in the requests of probes.

    No name ends in a label of digits: programs read such a host as an IPv4 address.
    """
    return not host or host == _LOCAL or host.startswith("[") or host.rpartition(".")[2].isdigit()


def covers_host(pattern: str, host: str) -> bool:
    """Whether a name or wildcard of a route stands for a host, or for all hosts of a narrower wildcard."""
    return host.endswith(pattern[1:]) if pattern.startswith(WILDCARD) else host == pattern
