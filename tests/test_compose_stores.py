"""The stores of `compose.yaml`, started as compose would start them, but with the programs that are here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import httpx
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from lockgate.cli.devstack import redis_server
from lockgate_shop.kit.data.objects import ObjectSettings, ObjectStore
from tests.support.compose import PASSWORDS, environment_of, resolved, written

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.stack

WITHIN_S: Final = 20


@pytest.fixture
def containers() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = resolved(written(), PASSWORDS)["services"]
    return found


def until_said(stream: IO[bytes] | None, words: bytes) -> None:
    """Until a server says that it is ready."""
    assert stream is not None
    said = []
    for line in stream:
        said.append(line)
        if words in line:
            return
    raise AssertionError(b"".join(said).decode(errors="replace"))


@pytest.mark.parametrize("name", ["redis", "orders-redis", "products-redis"])
def test_a_redis_takes_its_options_and_asks_for_the_password(
    containers: dict[str, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    container = containers[name]
    (tmp_path / "redis-server").symlink_to(redis_server.find_program())
    with redis_server.socket_path(tmp_path) as path:
        options = [str(tmp_path) if word == "/data" else word for word in container["command"]]
        here = [*options, "--port", "0", "--unixsocket", str(path)]
        env = {**environment_of(container), "PATH": f"{tmp_path}:{os.defpath}"}
        with subprocess.Popen([*container["entrypoint"], *here], env=env, stdout=subprocess.PIPE) as server:  # noqa: S603 - as compose would
            try:
                until_said(server.stdout, b"eady to accept connections")
                with Redis(unix_socket_path=str(path), password=env["REDISCLI_AUTH"]) as known:
                    asked = ("appendonly", "maxmemory", "maxmemory-policy", "save")
                    told = {option: known.config_get(option)[option] for option in asked}
                with Redis(unix_socket_path=str(path)) as stranger, pytest.raises(AuthenticationError):
                    stranger.ping()
            finally:
                server.terminate()
    if name == "products-redis":
        cache = {"appendonly": "no", "maxmemory": str(64 << 20), "maxmemory-policy": "allkeys-lru", "save": ""}
        assert told == cache
    else:
        assert (told["appendonly"], told["maxmemory-policy"]) == ("yes", "noeviction")


class Files:
    """A running store of files, and what a service is told of it but for the address.

    Args:
        containers: of the composition.
        url: where the store really is.
    """

    def __init__(self, containers: dict[str, dict[str, Any]], url: str) -> None:
        self._containers = containers
        self.url = url

    async def answers_to(self, service: str, content: bytes, *, bucket: str) -> int:
        """The status that the store has for a file which was signed for with a service's own keys."""
        told = {name.lower().partition("_s3_")[2]: value for name, value in self._told(service).items()}
        settings = ObjectSettings(
            s3_endpoint=self.url,
            s3_bucket=bucket,
            s3_access_key=told["access_key"],
            s3_secret_key=told["secret_key"],
        )
        store = ObjectStore(settings)
        try:
            put = await store.presign_put("file", content_type="image/png", content_length=len(content), expires_s=60)
        finally:
            await store.close()
        async with httpx.AsyncClient(trust_env=False, timeout=WITHIN_S) as http:
            return (await http.put(put.url, content=content, headers=put.headers)).status_code

    def _told(self, service: str) -> dict[str, str]:
        return {name: value for name, value in environment_of(self._containers[service]).items() if "_S3_" in name}


@pytest.fixture
def files(containers: dict[str, dict[str, Any]], tmp_path: Path) -> Iterator[Files]:
    """The store of users, seen to be well by the command that compose asks it with."""
    container = containers["users-files"]
    (tmp_path / "users").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert container["entrypoint"][0] == container["healthcheck"]["test"][1] == "python"
    command = [*container["entrypoint"][1:], *container["command"], "--host", "127.0.0.1", "--port", str(port)]
    check = [word.replace("8080", str(port)) for word in container["healthcheck"]["test"][2:]]
    env = {**environment_of(container), "NANIO_DATA_DIR": str(tmp_path), "PATH": os.defpath}
    with subprocess.Popen([sys.executable, *command], env=env, cwd=tmp_path, stderr=subprocess.PIPE) as server:  # noqa: S603 - as compose would
        try:
            until_said(server.stderr, b"Uvicorn running on")
            subprocess.run([sys.executable, *check], check=True, timeout=WITHIN_S)  # noqa: S603 - as compose would
            yield Files(containers, f"http://127.0.0.1:{port}")
        finally:
            server.terminate()


async def test_a_store_of_files_takes_those_of_its_service_and_nobody_elses(files: Files, tmp_path: Path) -> None:
    assert await files.answers_to("users", b"a picture", bucket="users") == 200
    assert await files.answers_to("orders", b"another", bucket="users") == 403
    assert (tmp_path / "users" / "file").read_bytes() == b"a picture"


def test_a_store_of_files_lies_in_its_volume(containers: dict[str, dict[str, Any]]) -> None:
    """The bucket is a folder: it has to be the one that is mounted."""
    for name in ("users", "orders", "products"):
        store = containers[f"{name}-files"]
        bucket = environment_of(containers[name])[f"{name.upper()}_S3_BUCKET"]
        assert store["volumes"] == [f"{name}-files:{store['environment']['NANIO_DATA_DIR']}/{bucket}"]
