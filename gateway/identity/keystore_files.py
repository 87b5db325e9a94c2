"""Files that hold keys: read only where nobody else may, written whole, one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigurationError

RING_FILE: Final = "ring.json"
REFRESH_FILE: Final = "refresh.json"
SIGNING_FOLDER: Final = "signing"
LINKS_FOLDER: Final = "links"
MAX_FILE_BYTES: Final = 256 * 1024
_LOCK_FILE: Final = ".lock"

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""What a set of files looks like from outside; another value where one of them was replaced or changed."""


def stamp(paths: Iterable[Path]) -> Stamp:
    """Inode, size, time of change and time of modification (ns) of each file; zeros for one that is not there."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            found.append((path.name, 0, 0, 0, 0))
        else:
            found.append((path.name, status.st_ino, status.st_size, status.st_ctime_ns, status.st_mtime_ns))
    return tuple(found)


def read_private(path: Path) -> bytes:
    """The content of a file that only its owner may open.

    Raises:
        ConfigurationError: it cannot be read, is too long for what it should be, or may be read by others.
    """
    try:
        with path.open("rb") as file:
            # Asked of the open file, so that what is checked is what is read.
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077:
                raise ConfigurationError(f"{path}: readable by others; `chmod 600` it")
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
                raise ConfigurationError(f"{path}: not a file of keys")
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error


def write_private(path: Path, content: bytes) -> None:
    """Replace a file: whoever reads it finds the old content or the new one, never a part.

    It belongs to the owner of its folder, also when root wrote it: a gateway could not read it otherwise.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        _give_to_owner(descriptor, path.parent)
        os.fchmod(descriptor, 0o600)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    _sync_folder(path.parent)


def entries(path: Path, document: object) -> list[dict[str, Any]]:
    """The objects in `keys` of what a file holds.

    Raises:
        ConfigurationError: there are none.
    """
    found = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(entry, dict) for entry in found):
        raise ConfigurationError(f"{path}: holds no keys")
    return found


def read_document(path: Path) -> object:
    """The JSON in a private file.

    Raises:
        ConfigurationError: it cannot be read as such.
    """
    try:
        return json.loads(read_private(path))
    except (ValueError, RecursionError):
        # Without the decoder's exception, which carries the whole text, secrets included, into tracebacks.
        raise ConfigurationError(f"{path}: not JSON") from None


def member(entry: dict[str, Any], name: str, path: Path) -> str:
    """A text of an entry.

    Raises:
        ConfigurationError: it is not there, or could be a path.
    """
    value = entry.get(name)
    if not isinstance(value, str) or not value or "/" in value:
        raise ConfigurationError(f"{path}: an entry has no valid {name!r}")
    return value


def timestamp(now: float) -> str:
    """A time (Unix seconds) as it stands in a file: RFC 3339, UTC, milliseconds."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def since(entry: dict[str, Any], path: Path) -> float:
    """When a key took its state, Unix seconds; no earlier than in truth.

    Where the file does not say, nothing in it has changed since it was written.

    Raises:
        ConfigurationError: what it says is not a time.
    """
    text = entry.get("since")
    if text is None:
        return path.stat().st_mtime
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{path}: 'since' of an entry is not a time") from None
    return moment.timestamp() if moment.tzinfo else moment.replace(tzinfo=UTC).timestamp()


def as_json(document: object) -> bytes:
    """A document as it stands in a file, for people to read."""
    return json.dumps(document, indent=2).encode() + b"\n"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be the only one who writes to a folder of keys, among the processes of this machine."""
    descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _give_to_owner(descriptor, directory)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _give_to_owner(descriptor: int, folder: Path) -> None:
    """Let a file belong to whom its folder belongs; only root may do that, and only root needs to."""
    owner, status = folder.stat(), os.fstat(descriptor)
    if os.geteuid() == 0 and (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power failure, so that no ring names a key file that is gone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
