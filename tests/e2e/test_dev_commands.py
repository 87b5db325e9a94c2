"""The command line finds the stack that runs here, at any port; and the files of a stack are private."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import httpx
import pytest

from lockgate_shop.users.demo import PASSWORD
from tests.support.commands import CONFIG, called
from tests.support.stack import running_stack

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.stack import Stack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that serves one host name only, beside another that has taken the usual ports."""
    folder = tmp_path_factory.mktemp("moved")
    with running_stack(folder, "--workers", "2", LOCKGATE_SERVER__ALLOWED_HOSTS="api.example") as running:
        yield running


def lockgate(stack: Stack, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command where nothing is configured but the file, and where the stack's data is."""
    return called(*arguments, "--config", CONFIG, "--data", stack.folder / "data", **environment)


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "LOCKGATE_REDIS_URL", "LOCKGATE_KEYS__DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def logged_in(stack: Stack) -> str:
    """An access token of bob's."""
    with httpx.Client(base_url=stack.url, trust_env=False, headers={"host": "api.example"}) as http:
        answer = http.post("/auth/login", json={"username": "bob", "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def test_a_stack_gets_ready_and_is_probed_by_address_whatever_hosts_are_allowed(moved: Stack) -> None:
    """R-207: its own probes do not know the name; other calls still have to."""
    with httpx.Client(base_url=moved.url, trust_env=False) as http:
        assert http.get("/readyz").status_code == 200
        assert http.get("/products").status_code == 421
        assert http.get("/products", headers={"host": "api.example"}).status_code == 200


@pytest.mark.usefixtures("stack")
def test_every_command_finds_the_stack_that_runs_here(moved: Stack) -> None:
    """Its Redis, users service, issuer and keys, though its ports are not those of the file."""
    token = logged_in(moved)
    assert json.loads(lockgate(moved, "tokens", "inspect", token, "--json").stdout)["verdict"] == "valid"
    assert lockgate(moved, "users", "show", "bob").stdout.splitlines()[0].split() == ["ID", "NAME", "STATUS", "ROLES"]
    listed = lockgate(moved, "sessions", "list", "bob").stdout.splitlines()
    assert listed[0].split() == ["SESSION", "LAST", "USED", "CLIENT", "ADDRESS", "AGENT"]
    assert len(listed) == 2
    assert lockgate(moved, "clients", "add", "reports").returncode == 0
    assert [line.split() for line in lockgate(moved, "clients", "list").stdout.splitlines()] == [
        ["CLIENT", "SCOPES"],
        ["reports", "-"],
    ]
    assert lockgate(moved, "keys", "list").stdout.split()[:5] == ["GROUP", "KID", "ALG", "STATE", "SINCE"]
    routes = json.loads(lockgate(moved, "routes", "check", "--json").stdout)
    assert routes["redis"].endswith("redis.sock")
    assert lockgate(moved, "sessions", "end", "bob").returncode == 0
    assert lockgate(moved, "tokens", "inspect", token).returncode == 1


def test_a_redis_that_is_configured_means_another_deployment(moved: Stack) -> None:
    """Nothing of the stack is mixed with it."""
    done = lockgate(moved, "users", "show", "bob", REDIS_URL="unix:///nowhere/redis.sock")
    assert done.returncode != 0
    routes = json.loads(lockgate(moved, "routes", "check", "--json", REDIS_URL="redis://h:1").stdout)
    assert routes["redis"] == "h:1"
    assert routes["accounts"]["upstreams"] == ["http://127.0.0.1:8101"]


def test_what_a_stack_writes_is_private_and_no_part_of_a_repository(moved: Stack) -> None:
    """Databases and what SQLite puts beside them, sockets, logs, the file for the commands, keys."""
    paths = [path for folder in ("data", "keys") for path in (moved.folder / folder).rglob("*")]
    names = {path.name for path in paths}
    assert {"users.db", "users.db-wal", "users.db-shm", "redis.sock", "stack.json", "users.log"} <= names
    readable = [path for path in paths if stat.S_IMODE(path.lstat().st_mode) & 0o077 and path.name != ".gitignore"]
    assert readable == []
    for folder in ("data", "keys"):
        assert stat.S_IMODE((moved.folder / folder).stat().st_mode) == 0o700
        assert "*" in (moved.folder / folder / ".gitignore").read_text().splitlines()


def test_a_stack_that_has_ended_is_not_found_any_more(tmp_path: Path) -> None:
    """Its file goes with it; and one that a killed process left behind does not count."""
    with running_stack(tmp_path) as stack:
        file = tmp_path / "data" / "stack.json"
        left = file.read_bytes()
        assert json.loads(lockgate(stack, "routes", "check", "--json").stdout)["redis"] is not None
    assert not file.exists()
    file.touch(mode=0o600)
    file.write_bytes(left)
    assert json.loads(lockgate(stack, "routes", "check", "--json").stdout)["redis"] is None
