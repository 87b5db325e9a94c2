"""`lockgate reload` with real processes: what it answers, and what its users notice of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from lockgate.cli import addresses, control
from tests.support.commands import ROOT, WITHIN_S, lockgate
from tests.support.raw import Wire
from tests.support.upstream import Upstream, recorder, running

pytestmark = pytest.mark.stack
ROUTE: Final = """
[[route]]
name = "{name}"
prefix = "/{name}"
service = "orders"
upstreams = ["{url}"]
auth = "public"
methods = ["GET"]
"""
READY: Final = b"GET /readyz HTTP/1.1\r\nHost: shop.example\r\n\r\n"
RELOADS: Final = 30
OPEN: Final = b"GET /open HTTP/1.1\r\nHost: shop.example\r\n\r\n"


@dataclass
class Gateway:
    """`lockgate serve`, and its configuration file.

    Attributes:
        url: of the service behind each route.
    """

    process: subprocess.Popen[str]
    file: Path
    port: int
    url: str

    def write(self, *routes: str, more: str = "") -> None:
        """Replace the file, in one step as an editor does."""
        new = self.file.with_suffix(".new")
        new.write_text(more + "".join(ROUTE.format(name=name, url=self.url) for name in routes))
        new.replace(self.file)

    def reload(self, *options: str) -> subprocess.CompletedProcess[str]:
        return lockgate("reload", "--config", self.file, *options)

    async def reloaded(self) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(self.reload)

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().startswith("gateway-")]

    def hear(self, text: str) -> None:
        assert self.process.stderr is not None
        while line := self.process.stderr.readline():
            if text in line:
                return
        pytest.fail(f"it ended without a word of {text!r}")

    async def ask(self, head: bytes) -> Any:  # noqa: ANN401 - a message
        client = await Wire.connect("127.0.0.1", self.port)
        try:
            await client.send(head)
            return await client.message()
        finally:
            client.close()

    async def states(self) -> list[dict[str, Any]]:
        """What some connections, which several workers share, are told by `/readyz`."""
        return [(await self.ask(READY)).json for _ in range(8)]


@contextlib.contextmanager
def serving(folder: Path, redis_url: str, service: Upstream, workers: int) -> Iterator[Gateway]:
    file = folder / "lockgate.toml"
    environment = {
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": redis_url,
        "LOCKGATE_KEYS__DIRECTORY": str(folder / "keys"),
        "LOCKGATE_UPSTREAMS__USERS": service.url,
    }
    with addresses.bind_listener("127.0.0.1", 0) as listener, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        argv = [sys.executable, "-m", "lockgate.cli", "serve", "--config", str(file), "--workers", str(workers)]
        argv += ["--fd", str(listener.fileno())]
        gateway = Gateway(None, file, listener.getsockname()[1], service.url)  # type: ignore[arg-type]  # made below
        gateway.write("open")
        assert lockgate("keys", "init", "--config", file).returncode == 0
        started = subprocess.Popen(  # noqa: S603 - our own program
            argv, env=dict(os.environ), pass_fds=(listener.fileno(),), stderr=subprocess.PIPE, text=True
        )
        with started as gateway.process:
            try:
                if workers > 1:
                    gateway.hear(f"gateway-{workers}: ready")
                yield gateway
            finally:
                gateway.process.kill()


@pytest.fixture(autouse=True)
def _hangup_is_not_ignored() -> Iterator[None]:
    """The parent of the tests may ignore it, and children inherit that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


async def test_workers_take_new_rules_together_and_a_new_worker_has_them(tmp_path: Path, redis_url: str) -> None:
    """R-290, R-296, R-297: whatever the file says when that worker starts."""
    async with running(recorder()) as service:
        with serving(tmp_path, redis_url, service, 2) as gateway:
            (before,) = {state["revision"] for state in await gateway.states()}
            gateway.write("open", "wiki")
            assert (await gateway.reloaded()).returncode == 0
            (after,) = {state["revision"] for state in await gateway.states()}
            assert before != after
            gateway.write("open", "wiki", more="[[route]")
            refused = await gateway.reloaded()
            assert refused.returncode == 2
            assert f"revision {after} stays in use" in refused.stderr
            os.kill(gateway.workers()[0], signal.SIGKILL)
            await asyncio.to_thread(gateway.hear, "is back")
            states = await gateway.states()
            assert {state["revision"] for state in states} == {after}
            assert all("the changed configuration was refused" in state["checks"]["rules"] for state in states)
            assert {(await gateway.ask(OPEN.replace(b"open", b"wiki"))).status for _ in range(8)} == {200}


async def test_a_lone_worker_reloads_by_a_changed_file_by_signal_and_by_command(tmp_path: Path, redis_url: str) -> None:
    """R-216, R-296, R-297: SIGHUP and a changed file do what the command does."""
    async with running(recorder()) as service:
        with serving(tmp_path, redis_url, service, 1) as gateway:
            before = (await gateway.ask(READY)).json["revision"]
            needed = "a restart is needed for token.audience"
            gateway.write("open", "wiki", more='[token]\naudience = "other"\n')
            await asyncio.to_thread(gateway.hear, needed)
            shown = await asyncio.to_thread(lockgate, "routes", "diff", "--config", gateway.file, "--json")
            (outcome,) = json.loads(shown.stdout)
            assert [change["place"] for change in outcome["changes"]] == ["route.wiki"]
            assert (outcome["revision"], outcome["problem"], shown.returncode) == (before, needed, 2)
            gateway.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(gateway.hear, needed)
            refused = await gateway.reloaded()
            assert (refused.returncode, needed in refused.stderr) == (2, True)
            gateway.write("open", "wiki")
            await asyncio.to_thread(gateway.hear, "rules reloaded")
            assert (await gateway.ask(OPEN.replace(b"open", b"wiki"))).status == 200


def test_without_a_gateway_the_command_says_so(tmp_path: Path) -> None:
    """R-297."""
    ended = lockgate("reload", "--config", tmp_path / "lockgate.toml")
    assert (ended.returncode, "no gateway of this account runs by" in ended.stderr) == (1, True)


@pytest.mark.fault
@pytest.mark.slow
async def test_a_worker_that_does_not_answer_makes_all_keep_their_rules(tmp_path: Path, redis_url: str) -> None:
    """R-290: and it does not take them when it goes on."""
    async with running(recorder()) as service:
        with serving(tmp_path, redis_url, service, 2) as gateway:
            frozen = gateway.workers()[0]
            os.kill(frozen, signal.SIGSTOP)
            gateway.write("open", "wiki")
            refused = await gateway.reloaded()
            os.kill(frozen, signal.SIGCONT)
            assert refused.returncode == 2
            assert f"worker {frozen} did not answer" in refused.stderr
            assert {(await gateway.ask(OPEN.replace(b"open", b"wiki"))).status for _ in range(8)} == {404}
            assert (await gateway.reloaded()).returncode == 0
            assert {(await gateway.ask(OPEN.replace(b"open", b"wiki"))).status for _ in range(8)} == {200}


@pytest.mark.fault
@pytest.mark.slow
async def test_no_request_fails_while_rules_are_reloaded(tmp_path: Path, redis_url: str) -> None:
    """R-292: routes come and go, and upstreams with them, under load."""
    done = asyncio.Event()
    statuses: list[int] = []

    async def ask_until_done(port: int) -> None:
        client = await Wire.connect("127.0.0.1", port)
        while not done.is_set():
            await client.send(OPEN)
            message = await client.message()
            statuses.append(message.status)
            if message.values("connection") == ["close"]:
                client.close()
                client = await Wire.connect("127.0.0.1", port)
        client.close()

    async with running(recorder()) as service, running(recorder()) as other, _clients() as clients:
        with serving(tmp_path, redis_url, service, 2) as gateway:
            for _ in range(16):
                clients.create_task(ask_until_done(gateway.port))
            revisions = set()
            for number in range(RELOADS):
                gateway.url = (service, other)[number % 2].url
                gateway.write("open", *[f"r{one}" for one in range(number)])
                (outcome,) = await asyncio.to_thread(control.ask_all, gateway.file, "reload")
                assert outcome["problem"] is None
                revisions |= {state["revision"] for state in await gateway.states()}
            done.set()
    assert len(revisions) == RELOADS
    assert set(statuses) == {200}
    assert len(other.requests) > RELOADS


@contextlib.asynccontextmanager
async def _clients() -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.timeout(6 * WITHIN_S), asyncio.TaskGroup() as group:
        yield group
