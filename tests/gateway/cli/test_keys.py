"""`lockgate keys …` as an operator types it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockgate.cli import keys
from lockgate.keys import keyring
from lockgate.keys.store import KeyStore
from lockgate.settings import Settings
from tests.support.clock import ManualClock
from tests.support.commands import CONFIG, called

pytestmark = pytest.mark.stack

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Run:
    """A command on a folder of keys that `keys init` has made."""
    config = tmp_path / "lockgate.toml"
    config.write_text(CONFIG.read_text().replace('directory = "keys"', f'directory = "{folder}"'))

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return called("keys", *arguments, "--config", config)

    assert command("init", "--link", "orders--products").returncode == 0
    return command


def listed(run: Run, group: str = "signing") -> dict[str, str]:
    """State by id, of one group."""
    found: dict[str, Any] = json.loads(run("list", "--json").stdout)
    return {key["kid"]: key["state"] for key in found["keys"] if key["group"] == group}


def test_a_rotation_says_what_it_did_and_when_to_go_on(run: Run) -> None:
    first = run("rotate")
    assert "is published to sign next. Not before 20" in first.stdout
    assert "activate it: `lockgate keys rotate`" in first.stdout
    second = run("rotate")
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.startswith("signing: too early")
    assert sorted(listed(run).values()) == ["active", "next"]


@pytest.mark.parametrize("alg", ["EdDSA", "ES256", "RS256"])
def test_in_an_emergency_a_new_key_of_any_algorithm_signs_at_once(run: Run, folder: Path, alg: str) -> None:
    result = run("rotate", "--now", "--alg", alg)
    assert "signs now" in result.stdout
    ring = keyring.load(folder)
    assert ring.active.alg == alg
    assert listed(run)[ring.active.kid] == "active"


def test_the_keys_of_every_link_are_rotated_and_it_says_that_both_ends_need_the_file(run: Run, folder: Path) -> None:
    result = run("rotate", "--links")
    lines = result.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "gateway -> orders",
        "gateway -> products",
        "gateway -> users",
        "orders -> products",
    ]
    assert all("`lockgate keys rotate --links`" in line for line in lines)
    assert f"copy {folder / 'links' / 'orders--products.json'} to both now" in lines[-1]
    assert sorted(listed(run, "orders -> products").values()) == ["active", "next"]


def test_the_refresh_secrets_are_rotated_and_the_old_one_is_kept_as_long_as_a_session(run: Run) -> None:
    run("rotate", "--refresh")
    assert "signs now" in run("rotate", "--refresh", "--now").stdout
    assert sorted(listed(run, "refresh").values()) == ["active", "passive"]
    assert run("retire").stdout == "nothing to do: no passive key is old enough\n"


def test_old_passive_keys_are_retired(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = keyring.load(folder).active.kid
    settings = Settings(keys={"directory": folder})  # type: ignore[arg-type]  # as in the configuration file
    clock = ManualClock()
    KeyStore(settings).rotate(KeyStore(settings).signing(), clock.now(), at_once=True)
    clock.advance(300 + 3 * 10 + 300)
    keys.retire_keys(settings, clock=clock)
    assert capsys.readouterr().out == f"signing: {old} is gone\n"
    assert old not in listed(run)


def test_a_removed_key_is_gone_at_once_and_another_signs(run: Run, folder: Path) -> None:
    old = keyring.load(folder).active.kid
    result = run("remove", old)
    assert result.returncode == 0
    assert "within 2 s" in result.stdout
    assert old not in listed(run)
    assert list(listed(run).values()) == ["active"]


@pytest.mark.parametrize("name", ["nobody", "-hyphen", "--links"])
def test_a_key_that_is_not_there_cannot_be_removed_whatever_its_name_looks_like(run: Run, name: str) -> None:
    before = listed(run)
    result = run("remove", name)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"lockgate: no key has the id {name!r}\n"
    assert listed(run) == before


def test_a_check_of_a_good_folder_is_content(run: Run) -> None:
    result = run("check")
    assert (result.returncode, result.stdout) == (0, "every key is in order\n")
    assert json.loads(run("check", "--json").stdout) == {"ok": True, "problems": [], "hints": []}


def test_a_check_tells_every_problem_and_fails(run: Run, folder: Path) -> None:
    (folder / "ring.json").chmod(0o644)
    (folder / "refresh.json").write_text("{")
    result = run("check")
    assert result.returncode == 1
    assert result.stderr == "lockgate: 2 problem(s) with the keys\n"
    assert "ring.json: readable by others" in result.stdout
    assert "refresh.json: not JSON" in result.stdout
    found = json.loads(run("check", "--json").stdout)
    assert (found["ok"], len(found["problems"])) == (False, 2)


def test_a_check_looks_at_the_private_keys_for_tls_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-215."""
    key = tmp_path / "key.pem"
    key.touch(mode=0o600)
    key.chmod(0o644)
    monkeypatch.setenv("REDIS_URL", f"rediss://unused?ssl_certfile=/dev/null&ssl_keyfile={key}")
    result = run("check")
    assert result.returncode == 1
    assert f"problem: {key}: readable by others" in result.stdout
    key.chmod(0o600)
    assert run("check").returncode == 0


def test_whoever_rotates_is_told_when_gateways_will_not_take_the_folder(run: Run, folder: Path) -> None:
    (folder / "refresh.json").chmod(0o644)
    assert "problem: " in run("rotate").stderr


def test_no_command_shows_a_secret(run: Run, folder: Path) -> None:
    said = "".join(
        result.stdout + result.stderr
        for result in [
            run("rotate"),
            run("rotate", "--links"),
            run("rotate", "--refresh"),
            run("list"),
            run("list", "--json"),
            run("check"),
        ]
    )
    for path in [folder / "refresh.json", *(folder / "links").glob("*.json")]:
        for key in json.loads(path.read_text())["keys"]:
            assert key["secret"] not in said
    assert "PRIVATE" not in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["rotate", "--links", "--refresh"], "not both"),
        (["rotate", "--links", "--alg", "ES256"], "--alg is for signing keys"),
    ],
)
def test_options_that_contradict_each_other_are_one_clear_line(run: Run, arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
