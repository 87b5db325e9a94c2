"""The running `lockgate dev` for the other commands: the addresses of Redis and services, the issuer and the keys.

`lockgate dev` chooses free ports, a Redis on a socket and an issuer; `lockgate users show alice` beside it would read
the file, find no Redis, and need four variables. So the stack writes into `stack.json` in its data folder, as
variables, the settings of its gateway. Commands about a deployment put these below their own variables and above the
file. They count only

- while the lock on the folder is held: a process that was killed leaves the file behind;
- for the same configuration file;
- where the environment names no Redis: otherwise another deployment is meant, and a mixture of two would be worse than
  an error.

`serve` and `dev` never look at the file. It is 0600, and a file that other accounts could have written, or that is a
link, does not count: it says which Redis is asked and where the users service is. A stack with `--data` is found by
commands with the same `--data`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from typing import TYPE_CHECKING, Final

from lockgate.environment import PLAIN_REDIS_URL, PREFIX
from lockgate.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FILE: Final = "stack.json"
_LOCK: Final = "lock"
_REDIS_URLS: Final = (PLAIN_REDIS_URL, f"{PREFIX}{PLAIN_REDIS_URL}")


def announce_stack(folder: Path, config: Path | None, env: Mapping[str, str]) -> None:
    """Write the file into the data folder.

    Args:
        folder: the data folder of the stack.
        config: the configuration file of the stack; `None`: the default file.
        env: the environment of the gateway's workers.
    """
    content = {
        "config": str((config or DEFAULT_FILE).resolve()),
        "pid": os.getpid(),
        "environment": {name: value for name, value in env.items() if _is_ours(name)},
    }
    new = folder / f"{_FILE}.new"
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    new.replace(folder / _FILE)


def withdraw_stack(folder: Path) -> None:
    """Remove the file."""
    with contextlib.suppress(OSError):
        (folder / _FILE).unlink(missing_ok=True)


def environment_of_stack(folder: Path, config: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of this process, and below them those of the running stack.

    Args:
        folder: the data folder that the command names.
        config: the configuration file of the command; a stack with another one is another deployment.
        environ: the variables of this process. Where they name a Redis, they mean another deployment, too.
    """
    if any(environ.get(name) for name in _REDIS_URLS):
        return dict(environ)
    ours = {name.upper() for name in environ}
    told = _is_running(folder, config)
    return {**{name: value for name, value in told.items() if name.upper() not in ours}, **environ}


def _is_running(folder: Path, config: Path | None) -> dict[str, str]:
    """The variables that the running stack has announced; empty where no stack runs."""
    try:
        content = json.loads(_read_private(folder))
        same = content["config"] == str((config or DEFAULT_FILE).resolve())
        os.kill(int(content["pid"]), 0)
        same = same and _is_locked(folder)
        told = {str(name): str(value) for name, value in content["environment"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return told if same else {}


def _read_private(folder: Path) -> str:
    """The file's text; OSError where other users may write it: a writer chooses which stack a command talks to."""
    with os.fdopen(os.open(folder / _FILE, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(_FILE)
        return file.read()


def _is_locked(folder: Path) -> bool:
    """Whether a stack holds the folder."""
    descriptor = os.open(folder / _LOCK, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX) or name == PLAIN_REDIS_URL
