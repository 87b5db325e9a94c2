"""A real S3 server on loopback, with a bucket and keys of its own: nanio, which verifies every signature."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings

from tests.services.rig import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass(frozen=True)
class Bucket:
    """Where a service under test keeps its files, as its settings call it.

    Attributes:
        folder: the objects on disk, by their keys.
    """

    s3_endpoint: str
    s3_bucket: str
    s3_access_key: str
    s3_secret_key: str
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        """For a service's settings."""
        return {name: value for name, value in vars(self).items() if name.startswith("s3_")}

    def keys(self) -> set[str]:
        """The names of all objects."""
        files = (file.relative_to(self.folder) for file in self.folder.rglob("*") if file.is_file())
        return {str(file) for file in files if file.parts[0] != ".nanio-meta"}


@contextlib.asynccontextmanager
async def bucket_in(folder: Path) -> AsyncIterator[Bucket]:
    """An empty bucket, behind a server on a free port for as long as the block runs."""
    access, secret = secrets.token_hex(10), secrets.token_urlsafe(30)
    (folder / "files").mkdir(parents=True)
    credentials = StaticCredentialResolver({access: secret})
    async with served(build_app(Settings(data_dir=folder.resolve(), credentials=credentials))) as url:
        yield Bucket(url, "files", access, secret, folder / "files")
