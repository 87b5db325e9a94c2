from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lockgate.cli.devstack import data_folder
from lockgate.errors import ConfigurationError
from tests.support.commands import WITHIN_S

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with data_folder.open_folder(tmp_path / "new" / "data") as folder:
        assert folder.logs.is_dir()
        assert folder.logs.stat().st_mode & 0o077 == 0


def test_logs_of_the_last_time_are_removed_and_data_is_not(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "users.log").write_text("old")
    (tmp_path / "users.db").write_text("kept")
    with data_folder.open_folder(tmp_path) as folder:
        assert not folder.log("users").exists()
    assert (tmp_path / "users.db").read_text() == "kept"


def test_a_path_that_leads_through_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match=r"cannot be written \(Not a directory\)"),
        data_folder.open_folder(tmp_path / "file" / "data"),
    ):
        pass


def test_a_second_stack_is_told_that_the_folder_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "_LOCK_WAIT_S", 0)
    with data_folder.open_folder(tmp_path), pytest.raises(ConfigurationError, match="in use by another"):  # noqa: SIM117
        with data_folder.open_folder(tmp_path):
            pass


@pytest.mark.stack
def test_it_stays_locked_until_the_last_child_that_writes_to_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_folder, "_LOCK_WAIT_S", 0)
    waits = "import sys; sys.stdin.read()"
    with data_folder.open_folder(tmp_path) as folder:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", waits], stdin=subprocess.PIPE, pass_fds=(folder.lock,)
        )
    with pytest.raises(ConfigurationError, match="in use by another"), data_folder.open_folder(tmp_path):
        pass
    child.communicate(timeout=WITHIN_S)
    with data_folder.open_folder(tmp_path):
        pass
