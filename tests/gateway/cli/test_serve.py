from __future__ import annotations

import contextlib
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lockgate.cli import addresses
from tests.support.commands import CONFIG, WITHIN_S, Ending, heard, lockgate, started
from tests.support.redis_server import running

if TYPE_CHECKING:
    import socket
    import subprocess
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
    assert lockgate("keys", "init", "--config", CONFIG).returncode == 0
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


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("evicting", "lockgate: redis: maxmemory-policy is allkeys-lru; revocations need noeviction"),
        ("no keys", "lockgate: keys/"),
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
        if problem != "no keys":
            assert lockgate("keys", "init", "--config", CONFIG, cwd=tmp_path).returncode == 0
        ended = lockgate("serve", "--config", CONFIG, "--port", "0", "--workers", workers, cwd=tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(said)
    assert ended.stdout == ""
