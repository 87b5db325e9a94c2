"""An S3 server of our own, for a machine without one: nanio, on loopback, with its objects kept on disk."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
from typing import TYPE_CHECKING, Final

from lockgate.cli import addresses, probes
from lockgate.cli.process import python_module
from lockgate.cli.supervisor import Child
from lockgate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from lockgate.cli.devstack.data_folder import DataFolder

NAME: Final = "objects"
HOST: Final = "127.0.0.1"
PORT: Final = 8121

_PREFIXES: Final = ("USERS", "ORDERS", "PRODUCTS")
_FORBIDDEN: Final = 403


def is_installed() -> bool:
    """Whether there is a server to run."""
    return importlib.util.find_spec("nanio") is not None


def server_child(folder: DataFolder, port: int, *, env: Mapping[str, str]) -> Child:
    """The server as a child to supervise, with a bucket for each service. The stack runs without it, but for files.

    Args:
        folder: of the objects and their access keys; the keys are made at random at the first start.
        port: on loopback.
        env: the environment, to which its own variables are added.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    objects = folder.path / NAME
    try:
        for prefix in _PREFIXES:
            (objects / prefix.lower()).mkdir(mode=0o700, parents=True, exist_ok=True)
        access_key, secret_key = _access_keys(folder.path / "objects.keys")
    except OSError as error:
        raise ConfigurationError(f"{objects}: cannot be written ({error.strerror})") from error
    own = {"NANIO_DATA_DIR": str(objects), "NANIO_ACCESS_KEY": access_key, "NANIO_SECRET_KEY": secret_key}
    options = ("--factory", "--host", HOST, "--port", str(port), "--no-access-log", "--no-server-header")
    return Child(
        name=NAME,
        argv=python_module("uvicorn", "nanio.app:build_app", *options),
        env={**env, **own},
        # It is ready when it refuses a request without credentials.
        probe=probes.http_probe(HOST, port, "/", expected=_FORBIDDEN),
        essential=False,
        log=folder.log(NAME),
    )


def service_environment(child: Child, port: int, env: Mapping[str, str]) -> dict[str, str]:
    """The variables that name this server to services, except for a service that has a bucket elsewhere."""
    told: dict[str, str] = {}
    for prefix in _without_a_place(env):
        told |= {
            f"{prefix}_S3_ENDPOINT": addresses.base_url(HOST, port),
            f"{prefix}_S3_BUCKET": prefix.lower(),
            f"{prefix}_S3_ACCESS_KEY": child.env["NANIO_ACCESS_KEY"],
            f"{prefix}_S3_SECRET_KEY": child.env["NANIO_SECRET_KEY"],
        }
    return told


def _without_a_place(env: Mapping[str, str]) -> Iterable[str]:
    return (prefix for prefix in _PREFIXES if f"{prefix}_S3_BUCKET" not in env)


def _access_keys(file: Path) -> tuple[str, str]:
    """Access key and secret key; the same at each start."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        kept = json.loads(file.read_text())
        return str(kept["access_key"]), str(kept["secret_key"])
    made = {"access_key": secrets.token_hex(10), "secret_key": secrets.token_urlsafe(30)}
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        json.dump(made, opened)
    return made["access_key"], made["secret_key"]
