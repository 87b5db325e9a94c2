from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lockgate.cli import addresses
from lockgate.errors import ConfigurationError
from tests.support.commands import CONFIG, ROOT, WITHIN_S, Ending, called, heard, lockgate, started
from tests.support.redis_server import running

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

pytestmark = pytest.mark.stack


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with addresses.bind_listener("127.0.0.1", 0) as listening:
        yield listening


@contextlib.contextmanager
def serving(
    listener: socket.socket, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """`lockgate serve` with two workers, and their pids. Redis is away: a gateway starts without it."""
    monkeypatch.setenv("REDIS_URL", f"unix://{folder}/nobody.sock")
    monkeypatch.setenv("LOCKGATE_KEYS__DIRECTORY", str(folder / "keys"))
    assert called("keys", "init", "--config", CONFIG).returncode == 0
    arguments = ("serve", "--config", str(CONFIG), "--workers", "2", "--fd", str(listener.fileno()))
    with started("lockgate.cli", *arguments, fds=(listener.fileno(),), errors=True) as supervisor:
        said = heard(supervisor, "gateway-1: ready", "gateway-2: ready")
        assert not [line for line in said if "uvicorn" in line and "warning" in line]
        yield supervisor, workers_of(supervisor)


def workers_of(supervisor: subprocess.Popen[str]) -> set[int]:
    return children_of(supervisor, "gateway-")


def children_of(supervisor: subprocess.Popen[str], name: str) -> set[int]:
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    return {int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().startswith(name)}


def is_alive(listener: socket.socket) -> bool:
    host, port = listener.getsockname()
    with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=WITHIN_S) as answer:
        return bool(answer.status == 200)


@pytest.mark.fault
def test_a_killed_worker_is_replaced_and_the_others_serve_on(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-245."""
    with serving(listener, tmp_path, monkeypatch) as (supervisor, before):
        os.kill(min(before), signal.SIGKILL)
        heard(supervisor, "killed by SIGKILL, restarting in 0.2 s")
        assert is_alive(listener)
        heard(supervisor, "is back")
        after = workers_of(supervisor)
        assert len(after) == 2
        assert after & before == before - {min(before)}


@pytest.mark.fault
def test_workers_serve_on_when_their_fork_server_is_killed_and_the_next_one_replaces_workers(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-247: the fork server is no parent of theirs."""
    with serving(listener, tmp_path, monkeypatch) as (supervisor, workers):
        (server,) = children_of(supervisor, "forks")
        os.kill(server, signal.SIGKILL)
        heard(supervisor, "forks: killed by SIGKILL, restarting in 0.2 s")
        assert is_alive(listener)
        heard(supervisor, "forks: is back")
        assert workers_of(supervisor) == workers
        os.kill(min(workers), signal.SIGKILL)
        heard(supervisor, "gateway-1: is back")
        assert len(workers_of(supervisor) & workers) == 1
        assert len(workers_of(supervisor)) == 2


@pytest.mark.fault
def test_a_worker_that_dies_with_its_fork_server_comes_back_after_it(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(listener, tmp_path, monkeypatch) as (supervisor, workers):
        for pid in (*children_of(supervisor, "forks"), *workers):
            os.kill(pid, signal.SIGKILL)
        heard(supervisor, "gateway-1: is back", "gateway-2: is back")
        assert is_alive(listener)


@pytest.mark.fault
def test_no_worker_survives_a_supervisor_that_is_killed(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(listener, tmp_path, monkeypatch) as (supervisor, workers):
        ending = Ending(*workers)
        supervisor.kill()
        assert ending.survivors() == set()


def test_a_stop_lets_every_worker_end_and_is_a_clean_one(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(listener, tmp_path, monkeypatch) as (supervisor, workers):
        ending = Ending(*workers)
        supervisor.send_signal(signal.SIGTERM)
        heard(supervisor, "gateway-1: stopped", "gateway-2: stopped")
        assert supervisor.wait(WITHIN_S) == 0
        assert ending.survivors() == set()


def test_workers_that_cannot_start_as_configured_are_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_KEYS__DIRECTORY", str(tmp_path / "no keys"))
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path}/nobody.sock")
    result = lockgate("serve", "--config", CONFIG, "--port", "0", "--workers", "2")
    assert result.returncode == 2
    assert "ring.json: cannot be read" in result.stderr
    assert "Traceback" not in result.stderr


def test_two_workers_stay_where_only_some_hosts_are_allowed(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-207: the probes of their supervisor go to an address, and the node is not ended for that."""
    monkeypatch.setenv("LOCKGATE_SERVER__ALLOWED_HOSTS", "api.example")
    with serving(listener, tmp_path, monkeypatch) as (_, workers):
        assert len(workers) == 2
        assert is_alive(listener)
        host, port = listener.getsockname()
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(f"http://{host}:{port}/users", timeout=WITHIN_S)


def free_ports() -> int:
    """The first of two ports, one after the other, that are free."""
    while True:
        with contextlib.suppress(ConfigurationError), addresses.bind_listener("127.0.0.1", 0) as first:
            port = int(first.getsockname()[1])
            with addresses.bind_listener("127.0.0.1", port + 1):
                return port


def configured_for_operators(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Keys, no Redis, and the first port for operators, which is returned."""
    first = free_ports()
    monkeypatch.setenv("REDIS_URL", f"unix://{folder}/away.sock")
    monkeypatch.setenv("LOCKGATE_KEYS__DIRECTORY", str(folder / "keys"))
    monkeypatch.setenv("LOCKGATE_OPERATIONS__PORT", str(first))
    assert lockgate("keys", "init", "--config", CONFIG).returncode == 0
    return first


@pytest.mark.fault
def test_every_line_of_a_node_is_json_and_one_says_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-252: what the parent says, what workers and libraries say, and the requests."""
    first = configured_for_operators(tmp_path, monkeypatch)
    arguments = ("serve", "--config", str(CONFIG), "--workers", "2", "--port", "0")
    with started("lockgate.cli", *arguments, errors=True) as supervisor:
        said = heard(supervisor, "2 workers, supervised by")
        address = json.loads(said[-1])["event"].split(";")[0].removeprefix("ready http://")
        os.kill(min(workers_of(supervisor)), signal.SIGKILL)
        said += heard(supervisor, "is back")
        # A worker that is killed loses the lines of its last second, so the request comes after the kill.
        urllib.request.urlopen(f"http://{address}/healthz", timeout=WITHIN_S).close()
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.stdout is not None
        assert supervisor.stderr is not None
        said += supervisor.stderr.readlines()
        requests = supervisor.stdout.readlines()
        assert supervisor.wait(WITHIN_S) == 0
    events = [json.loads(line)["event"] for line in said]
    assert {json.loads(line)["event"] for line in requests} == {"request"}
    (ready,) = (event for event in events if event.startswith("ready "))
    assert ready.startswith("ready http://127.0.0.1:")
    assert f"for operators http://127.0.0.1:{first} http://127.0.0.1:{first + 1};" in ready
    assert events.index(ready) > max(events.index(f"gateway-{number}: ready") for number in (1, 2))


def test_a_worker_is_not_taken_for_ready_because_another_one_responds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-252: here the port for operators of the second worker is taken."""
    first = configured_for_operators(tmp_path, monkeypatch)
    with addresses.bind_listener("127.0.0.1", first + 1):
        ended = lockgate("serve", "--config", CONFIG, "--port", "0", "--workers", "2")
    assert ended.returncode == 2
    assert "gateway-1: ready" in ended.stderr
    assert "gateway-2: ready" not in ended.stderr
    assert f"lockgate: operations: 127.0.0.1:{first + 1}: " in ended.stderr


def test_a_single_worker_says_where_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-252: to a person at a terminal, as a sentence."""
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("LOCKGATE_KEYS__DIRECTORY", str(tmp_path / "keys"))
    assert lockgate("keys", "init", "--config", CONFIG).returncode == 0
    ours, theirs = os.openpty()
    argv = [sys.executable, "-m", "lockgate.cli", "serve", "--config", str(CONFIG), "--port", "0"]
    with (
        os.fdopen(ours, encoding="utf-8") as terminal,
        subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs) as worker,  # noqa: S603 - ours
    ):
        try:
            os.close(theirs)
            line = next(line for line in terminal if not line.startswith("{"))
        finally:
            worker.kill()
    assert line.startswith("lockgate: ready http://127.0.0.1:")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_that_a_first_start_lacks_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    """R-253: each in a line, with what helps."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    shutil.copy(CONFIG, tmp_path)
    ended = lockgate("serve", "--port", "0", "--workers", workers, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    redis, ring, links = ended.stderr.splitlines()
    assert redis.startswith("lockgate: redis_url is not set: ")
    assert "REDIS_URL" in redis
    assert ring.startswith("lockgate: keys/ring.json: cannot be read")
    assert links.startswith("lockgate: link keys: no link key file in keys/links names gateway")
    assert ring.endswith("`lockgate keys init` makes the missing keys")
    assert links.endswith("`lockgate keys init` makes what is missing")


def test_all_links_that_a_start_lacks_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-253."""
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path}/nobody.sock")
    shutil.copy(CONFIG, tmp_path)
    assert lockgate("keys", "init", cwd=tmp_path).returncode == 0
    for service in ("orders", "products"):
        (tmp_path / "keys" / "links" / f"gateway--{service}.json").unlink()
    ended = lockgate("serve", "--port", "0", cwd=tmp_path)
    assert ended.returncode == 2
    assert "link keys: gateway has no link to 'orders', 'products'; `lockgate keys init` makes" in ended.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("evicting", "lockgate: redis: maxmemory-policy is allkeys-lru; revocations need noeviction"),
        ("operations", "lockgate: operations: 127.0.0.1:"),
    ],
)
def test_a_start_that_cannot_be_ends_with_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str, problem: str, said: str
) -> None:
    """R-214: with one worker and with several, and nothing listens any more."""
    monkeypatch.chdir(tmp_path)
    policy = "allkeys-lru" if problem == "evicting" else "noeviction"
    with (
        running(tmp_path / "redis", f"maxmemory-policy {policy}") as redis,
        addresses.bind_listener("127.0.0.1", 0) as busy,
    ):
        monkeypatch.setenv("REDIS_URL", f"redis://{redis.place}")
        if problem == "operations":
            monkeypatch.setenv("LOCKGATE_OPERATIONS__PORT", str(busy.getsockname()[1]))
        assert lockgate("keys", "init", "--config", CONFIG, cwd=tmp_path).returncode == 0
        ended = lockgate("serve", "--config", CONFIG, "--port", "0", "--workers", workers, cwd=tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(said)
    assert ended.stdout == ""
