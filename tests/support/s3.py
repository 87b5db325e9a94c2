"""A real S3 server on loopback, with a bucket and keys of its own: nanio, which verifies every signature."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
from nanio.app import build_app  # type: ignore[import-untyped]
from nanio.auth.credentials import StaticCredentialResolver  # type: ignore[import-untyped]
from nanio.config import Settings  # type: ignore[import-untyped]

from tests.services.rig import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.types import ASGIApp


class Keys(TypedDict, total=False):
    """Those of a service's settings that say which bucket is its own."""

    s3_bucket: str
    s3_access_key: str
    s3_secret_key: str


class S3Settings(Keys, total=False):
    """The same, and where the bucket is."""

    s3_endpoint: str


@dataclass(frozen=True, kw_only=True)
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
    def settings(self) -> S3Settings:
        """For a service's settings."""
        return {
            "s3_endpoint": self.s3_endpoint,
            "s3_bucket": self.s3_bucket,
            "s3_access_key": self.s3_access_key,
            "s3_secret_key": self.s3_secret_key,
        }

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


def given_bucket() -> list[S3Settings]:
    """A new bucket of the server at S3_URL (`http://key:secret@host:port`), where that is set; else none."""
    if "S3_URL" not in os.environ:
        return []
    url = urlsplit(os.environ["S3_URL"])
    given: S3Settings = {
        "s3_endpoint": f"{url.scheme}://{url.hostname}:{url.port}",
        "s3_bucket": f"lockgate-{secrets.token_hex(6)}",
        "s3_access_key": str(url.username),
        "s3_secret_key": str(url.password),
    }
    session = boto3.session.Session(given["s3_access_key"], given["s3_secret_key"], region_name="us-east-1")
    session.client("s3", endpoint_url=given["s3_endpoint"]).create_bucket(Bucket=given["s3_bucket"])
    return [given]
