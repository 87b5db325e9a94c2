"""`lockgate dev` tells the other commands its addresses, and they believe it under conditions."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.cli.devstack import data_folder, running

CONFIG = Path("lockgate.toml")
TOLD = {"LOCKGATE_TOKEN__ISSUER": "http://stack:1", "REDIS_URL": "unix:///stack"}


def told(folder: Path, environ: dict[str, str] | None = None, config: Path | None = CONFIG) -> dict[str, str]:
    return running.environment_of_stack(folder, config, environ or {})


def test_it_is_believed_while_the_stack_runs_and_variables_win(tmp_path: Path) -> None:
    with data_folder.open_folder(tmp_path) as folder:
        running.announce_stack(folder.path, None, {**TOLD, "PATH": "/bin"})
        assert told(tmp_path) == TOLD
        assert told(tmp_path, {"lockgate_token__issuer": "http://mine:1"}) == {
            "REDIS_URL": "unix:///stack",
            "lockgate_token__issuer": "http://mine:1",
        }
    assert told(tmp_path) == {}, "nobody holds the folder any more"


@pytest.mark.parametrize("name", ["REDIS_URL", "LOCKGATE_REDIS_URL"])
def test_a_redis_in_the_environment_means_another_deployment(tmp_path: Path, name: str) -> None:
    with data_folder.open_folder(tmp_path) as folder:
        running.announce_stack(folder.path, None, TOLD)
        assert told(tmp_path, {name: "redis://other"}) == {name: "redis://other"}


def test_another_configuration_file_means_another_deployment(tmp_path: Path) -> None:
    with data_folder.open_folder(tmp_path) as folder:
        running.announce_stack(folder.path, None, TOLD)
        assert told(tmp_path, config=tmp_path / "production.toml") == {}


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o666])
def test_a_file_that_others_could_have_written_or_read_is_not_believed(tmp_path: Path, mode: int) -> None:
    """A program that may write it chooses which Redis and which users service a command talks to."""
    with data_folder.open_folder(tmp_path) as folder:
        running.announce_stack(folder.path, None, TOLD)
        (tmp_path / "stack.json").chmod(mode)
        assert told(tmp_path) == {}


def test_a_link_to_a_file_elsewhere_is_not_followed(tmp_path: Path) -> None:
    with data_folder.open_folder(tmp_path) as folder:
        running.announce_stack(folder.path, None, TOLD)
        (tmp_path / "stack.json").rename(tmp_path / "elsewhere.json")
        (tmp_path / "stack.json").symlink_to("elsewhere.json")
        assert told(tmp_path) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"config": 1}', '{"pid": "x"}', "\x00"])
def test_a_file_that_says_nothing_is_none(tmp_path: Path, content: str) -> None:
    with data_folder.open_folder(tmp_path) as folder:
        running.announce_stack(folder.path, None, TOLD)
        (tmp_path / "stack.json").write_text(content)
        assert told(tmp_path) == {}


def test_what_an_older_version_left_readable_is_made_private(tmp_path: Path) -> None:
    old = tmp_path / "data" / "redis" / "old.aof"
    old.parent.mkdir(parents=True, mode=0o755)
    old.touch(mode=0o644)
    with data_folder.open_folder(tmp_path / "data"):
        assert old.stat().st_mode & 0o777 == 0o600
        assert old.parent.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "data" / ".gitignore").read_text().splitlines()[-1] == "*"
