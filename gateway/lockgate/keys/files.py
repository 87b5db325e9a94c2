"""Files that hold keys: read only where they are private, written whole, one writer at a time."""

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

import lockgate_trust
from lockgate.errors import ConfigurationError
from lockgate_trust import PrivateFileError

RING_FILE: Final = "ring.json"
REFRESH_FILE: Final = "refresh.json"
SIGNING_FOLDER: Final = "signing"
LINKS_FOLDER: Final = "links"
MAX_FILE_BYTES: Final = 256 * 1024
_LOCK_FILE: Final = ".lock"
_GROUP_MAY_LOOK: Final = 0o050

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
    """The content of a file that is private as `lockgate_trust.private` has it.

    Raises:
        ConfigurationError: it cannot be read, is too long for what it should be, or may be read by others.
    """
    try:
        return lockgate_trust.read_private(path, MAX_FILE_BYTES)
    except PrivateFileError as error:
        raise ConfigurationError(str(error)) from error


def write_private(path: Path, content: bytes) -> None:
    """Replace a file: a reader finds the old content or the new one, never a part.

    It belongs to the owner and group of its folder, also when root wrote it: a gateway could not read it otherwise.
    In a folder that root has given to a group (0750), that group may read it.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        _hand_over(descriptor, path.parent)
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
        content = read_private(path)
    except ConfigurationError as error:
        if error.__cause__ is not None and isinstance(error.__cause__.__cause__, FileNotFoundError):
            raise ConfigurationError(f"{error}; `lockgate keys init` makes the missing keys") from error
        raise
    try:
        return json.loads(content)
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
        since = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{path}: 'since' of an entry is not a time") from None
    return since.timestamp() if since.tzinfo else since.replace(tzinfo=UTC).timestamp()


def as_json(document: object) -> bytes:
    """A document as it stands in a file, for people to read."""
    return json.dumps(document, indent=2).encode() + b"\n"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be the only writer of a folder of keys, among the processes of this machine."""
    descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _give_to_owner(descriptor, directory)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _give_to_owner(descriptor: int, folder: Path) -> None:
    """Give a file to the owner of its folder; only root may do that, and only root needs to."""
    owner, status = folder.stat(), os.fstat(descriptor)
    if os.geteuid() == 0 and (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def make_folder(folder: Path) -> None:
    """Make a folder of keys where it is missing: for the owner and group of the folder around it.

    Raises:
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        hand_over(folder)


def ignore_in_git(folder: Path) -> None:
    """Have git leave out what is in a folder; a rule that is there already stays."""
    # A folder that is only mounted for reading is in no repository.
    with contextlib.suppress(OSError), (folder / ".gitignore").open("x", encoding="ascii") as file:
        file.write("# What is in here is secret, or made from a secret.\n*\n")


def join_readers(directory: Path) -> None:
    """Let a command that root runs read what root has given to a group: it acts for that group's members.

    For commands only. A gateway is in the groups that it is started in.

    Args:
        directory: of the keys.
    """
    with contextlib.suppress(OSError):
        status = directory.stat()
        if os.geteuid() == 0 and _is_given(status) and status.st_gid not in os.getgroups():
            os.setgroups([*os.getgroups(), status.st_gid])


def hand_over(path: Path) -> None:
    """Give a file or folder that was just made to the owners of the folder around it.

    Raises:
        OSError: it cannot be given.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        _hand_over(descriptor, path.parent)
    finally:
        os.close(descriptor)


def _hand_over(descriptor: int, folder: Path) -> None:
    _give_to_owner(descriptor, folder)
    mode = 0o700 if stat.S_ISDIR(os.fstat(descriptor).st_mode) else 0o600
    if _is_given(folder.stat()):
        # The group reads what is in the folder, as it reads the folder.
        mode |= 0o050 if mode & 0o100 else 0o040
    os.fchmod(descriptor, mode)


def _is_given(status: os.stat_result) -> bool:
    """Whether root has given a folder to a group, and others have no right to it."""
    return status.st_uid == 0 and status.st_gid != 0 and stat.S_IMODE(status.st_mode) & 0o077 == _GROUP_MAY_LOOK


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power failure, so that no ring names a key file that is gone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
