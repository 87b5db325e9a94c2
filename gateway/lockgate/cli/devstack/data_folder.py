"""The folder where `lockgate dev` keeps everything: one stack at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockgate.errors import ConfigurationError
from lockgate.keys.files import ignore_in_git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK_WAIT_S: Final = 3
_LOCK_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A data folder that belongs to this process.

    Attributes:
        path: absolute.
        lock: a descriptor; a process that inherits it keeps the folder locked. Redis inherits it: after its parent was
            killed, the next stack waits until Redis has written its data.
    """

    path: Path
    lock: int

    @property
    def logs(self) -> Path:
        """The folder of the logs of children."""
        return self.path / "logs"

    @property
    def redis(self) -> Path:
        """The folder of the append-only file of Redis."""
        return self.path / "redis"

    def log(self, name: str) -> Path:
        """The log of one child."""
        return self.logs / f"{name}.log"

    def database(self, name: str) -> str:
        """The URL of one service's database."""
        return f"sqlite:///{self._database(name)}"

    def has_database(self, name: str) -> bool:
        """Whether there is one from an earlier run."""
        return self._database(name).exists()

    def _database(self, name: str) -> Path:
        return self.path / f"{name}.db"


@contextlib.contextmanager
def open_folder(path: Path) -> Iterator[DataFolder]:
    """Make the folder where missing, and keep it locked. The logs of the last run are removed.

    Raises:
        ConfigurationError: the folder cannot be written, or another stack uses it.
    """
    try:
        folder = path.resolve()
        (folder / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        if not _lock_folder(lock):
            raise ConfigurationError(f"{path}: in use by another `lockgate dev`; choose another with --data")
        for old in (folder / "logs").glob("*.log"):
            old.unlink(missing_ok=True)
        _make_private(folder)
        yield DataFolder(folder, lock)
    finally:
        os.close(lock)


def _make_private(folder: Path) -> None:
    """Keep others of this machine, and git, from its content, also where an older version has made it."""
    for path in (folder, *folder.rglob("*")):
        # A server of the last run may still remove files.
        with contextlib.suppress(FileNotFoundError):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o700)
    ignore_in_git(folder)


def _lock_folder(descriptor: int) -> bool:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOCK_PAUSE_S)
        else:
            return True
