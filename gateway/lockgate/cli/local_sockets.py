"""Sockets between the programs of one machine and one account: a gateway's workers, and the commands about it.

On Linux such a socket has a name and no file (unix(7), "abstract"), so a container with a read-only file system has it
too, and nothing of it stays behind. Any account of the machine could listen on such a name or connect to it, so both
ends ask the kernel for the account of the other one. Elsewhere it is a file in a folder that only its owner can enter.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import sys
import tempfile
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc/net/unix")
_ABSTRACT: Final = sys.platform == "linux"
_CREDENTIALS: Final = struct.Struct("3i")
"""Process, account and group of the other end (unix(7), `SO_PEERCRED`)."""
_BACKLOG: Final = 128
_PRIVATE: Final = 0o700


def listen(prefix: str) -> tuple[socket.socket, str]:
    """Listen on a new name.

    Args:
        prefix: of the name, by which `find` finds it.

    Returns:
        The socket, and its name.

    Raises:
        OSError: this system has no such sockets, or the folder for them cannot be used.
    """
    name = f"{prefix}-{secrets.token_hex(4)}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(_address_of(name))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)  # noqa: FBT003 - the library's spelling
    return listener, name


def close(listener: socket.socket, name: str) -> None:
    """Listen no more."""
    listener.close()
    if not _ABSTRACT:
        Path(_address_of(name)).unlink(missing_ok=True)


def find(prefix: str) -> list[str]:
    """The names that begin so, and are listened on."""
    if not _ABSTRACT:
        return sorted(path.name for path in _folder().glob(f"{prefix}-*"))
    try:
        lines = _PROCESSES.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    names = {line.rpartition(" @")[2] for line in lines if f" @{prefix}-" in line}
    return sorted(names)


def connect(name: str) -> socket.socket:
    """Connect to a name. The socket blocks.

    Raises:
        OSError: there is no listener, or it belongs to another account.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.connect(_address_of(name))
        # Root may look after the gateways of other accounts.
        if os.geteuid() != 0 and not is_ours(connected):
            raise PermissionError(f"{name} is a socket of another account")
    except OSError:
        connected.close()
        raise
    return connected


def is_ours(connected: socket.socket) -> bool:
    """Whether the other end belongs to this account, or to root."""
    found = _credentials(connected)
    return found is None or found[1] in {0, os.geteuid()}


def process_of(connected: socket.socket) -> int | None:
    """The id of the process at the other end; `None` where the system does not tell."""
    found = _credentials(connected)
    return None if found is None else found[0]


def _credentials(connected: socket.socket) -> tuple[int, int] | None:
    if not _ABSTRACT:
        return None  # the folder has kept others out
    pid, uid, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def _address_of(name: str) -> str:
    return f"\0{name}" if _ABSTRACT else str(_folder() / name)


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"lockgate-{os.geteuid()}"
    folder.mkdir(mode=_PRIVATE, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} may be entered by others")
    return folder
