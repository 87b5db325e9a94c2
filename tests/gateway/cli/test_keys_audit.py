"""`lockgate keys` in the audit trail, and for programs to read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from lockgate.keys import keyring
from tests.support import upstream as upstreams
from tests.support.commands import CONFIG, called

pytestmark = pytest.mark.stack

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command on a folder of keys, which `keys init` makes; with no Redis unless it is told of one."""
    monkeypatch.delenv("REDIS_URL", raising=False)

    def command(*arguments: str, redis_url: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"LOCKGATE_KEYS__DIRECTORY": str(folder)}
        if redis_url is not None:
            environment["REDIS_URL"] = redis_url
        return called("keys", *arguments, "--config", CONFIG, **environment)

    return command


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    """The events on standard error."""
    found = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] != "trail.failed"]


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_what_a_command_changes_is_in_the_trail_and_on_standard_error(run: Run, folder: Path, redis_url: str) -> None:
    with redis_py.Redis.from_url(redis_url) as store:
        store.delete("lg:audit")
        run("init", redis_url=redis_url)
        old = keyring.load(folder).active.kid
        run("rotate", redis_url=redis_url)
        done = run("remove", old, redis_url=redis_url)
        kept = [
            {name.decode(): value.decode() for name, value in facts.items()} for _, facts in store.xrange("lg:audit")
        ]
    assert [event["event"] for event in kept if event["group"] == "signing"] == [
        "key.activated",
        "key.published",
        "key.activated",
        "key.removed",
    ]
    assert {event["group"] for event in kept} == {
        "signing",
        "refresh",
        "gateway -> users",
        "gateway -> orders",
        "gateway -> products",
    }
    assert {event["actor"].partition(":")[0] for event in kept} == {"cli"}
    assert kept[-1]["kid"] == old
    assert [line["event"] for line in lines(done)] == ["key.activated", "key.removed"]
    assert "not in the audit trail" not in done.stderr
    secrets = [
        key["secret"]
        for path in (folder / "refresh.json", *(folder / "links").glob("*.json"))
        for key in json.loads(path.read_text())["keys"]
    ]
    assert not any(secret in repr(kept) + done.stderr for secret in secrets)


def test_link_keys_are_in_the_trail_with_the_name_of_their_link(run: Run) -> None:
    run("init")
    assert [(line["event"], line["group"]) for line in lines(run("rotate", "--links"))] == [
        ("key.published", "gateway -> orders"),
        ("key.published", "gateway -> products"),
        ("key.published", "gateway -> users"),
    ]


def test_what_changes_nothing_is_no_event(run: Run) -> None:
    run("init")
    assert lines(run("init")) == []
    run("rotate")
    assert [run(*again).stderr for again in (("rotate",), ("retire",), ("list",), ("check",))] == [""] * 4


def test_keys_change_without_redis_too_and_it_is_said_that_the_trail_has_it_not(run: Run, folder: Path) -> None:
    run("init")
    with upstreams.nobody() as address:
        away = address.replace("http", "redis")
        for redis_url, reason in ((None, "redis_url is not set"), (away, "nothing listens at its address")):
            old = keyring.load(folder).active.kid
            done = run("remove", old, redis_url=redis_url)
            assert done.returncode == 0
            assert keyring.load(folder).active.kid != old
            assert [line["event"] for line in lines(done)] == ["key.activated", "key.removed"]
            assert f'"reason": "{reason}"' in done.stderr
            assert done.stderr.splitlines()[-1].startswith("lockgate: this is not in the audit trail in Redis")


def test_every_command_tells_programs_what_it_did(run: Run, folder: Path) -> None:
    made = as_json(run("init", "--json"))["made"]
    assert made[0] == str(folder / "signing")
    assert as_json(run("init", "--json")) == {"made": []}
    old = keyring.load(folder).active.kid
    (step,) = as_json(run("rotate", "--json"))["rotated"]
    assert (step["group"], step["did"]) == ("signing", "published")
    assert step["next_at"].endswith("Z")
    (early,) = as_json(run("rotate", "--json"))["rotated"]
    assert early == {**step, "did": "waiting"}
    (done,) = as_json(run("rotate", "--now", "--json"))["rotated"]
    assert (done["did"], done["kid"]) == ("activated", step["kid"])
    assert as_json(run("retire", "--json")) == {"retired": []}
    assert as_json(run("remove", old, "--json")) == {"group": "signing", "removed": old, "active": step["kid"]}
    assert [key["kid"] for key in as_json(run("list", "--json"))["keys"] if key["group"] == "signing"] == [step["kid"]]


@pytest.mark.parametrize("command", ["list", "rotate", "retire"])
def test_a_folder_without_keys_is_one_clear_line(run: Run, folder: Path, command: str) -> None:
    folder.mkdir()
    done = run(command, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    fault = "cannot be read (No such file or directory); `lockgate keys init` makes the missing keys"
    assert done.stderr == f"lockgate: {folder / 'ring.json'}: {fault}\n"
