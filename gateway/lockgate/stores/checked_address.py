"""The address of Redis, and whether the gateway can use the files that the address names."""

from __future__ import annotations

import os
from pathlib import Path

from lockgate.errors import ConfigurationError
from lockgate_common.redis.address import TLS_FILES, TLS_KEY_FILE, Group, Server, read_address
from lockgate_trust import exposure


def read_checked_address(url: str) -> Server | Group:
    """Where Redis is; every file for TLS has been opened once.

    A file that cannot be read would look like an outage later, so it ends the start.

    Raises:
        ConfigurationError: the address is not well formed, or a file that it names cannot be read, or other accounts
            may read the private key. The text has nothing of the address in it but the name of an option.
    """
    address = read_address(url)
    for option in TLS_FILES:
        path = (address.tls or {}).get(option)
        if path is not None:
            _check_file(option, path)
    return address


def _check_file(option: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
            wrong = exposure(os.fstat(file.fileno())) if option == TLS_KEY_FILE else None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise ConfigurationError(f"redis_url: {option}: its file cannot be read ({why})") from None
    if wrong is not None:
        raise ConfigurationError(f"redis_url: {option}: {wrong}")
