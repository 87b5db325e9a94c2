"""Owner, group and mode of a file with a secret, tried with real accounts (R-215, R-165)."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from lockgate_trust import PrivateFileError, read_private
from tests.support.accounts import FOREIGN_GROUP, GROUP, NOBODY, give, needs_root, open_folder, said_by

pytestmark = pytest.mark.process

SECRET = "the secret"
OTHER = 1


@pytest.fixture
def file() -> Iterator[Path]:
    needs_root()
    with open_folder() as folder:
        path = folder / "key.json"
        path.write_text(SECRET)
        yield path


def read_as(path: Path, account: int, groups: Collection[int]) -> str:
    """What that account reads, or why it is not taken."""
    program = f"""
try:
    print(read_private({str(path)!r}, 100).decode())
except PrivateFileError as error:
    print(error)
"""
    return said_by("from lockgate_trust import PrivateFileError, read_private", program, account=account, groups=groups)


@pytest.mark.parametrize(
    ("owner", "group", "mode"),
    [
        (NOBODY, NOBODY, 0o600),
        (NOBODY, NOBODY, 0o400),
        (NOBODY, FOREIGN_GROUP, 0o600),
        (0, GROUP, 0o440),
        (0, GROUP, 0o640),
        (0, NOBODY, 0o440),
    ],
)
def test_a_file_of_ours_or_one_that_root_gave_to_our_group_is_read(
    file: Path, owner: int, group: int, mode: int
) -> None:
    give(file, owner, group, mode)
    assert read_as(file, NOBODY, [GROUP]) == SECRET


@pytest.mark.parametrize(
    ("owner", "group", "mode"),
    [
        (NOBODY, NOBODY, 0o640),
        (NOBODY, GROUP, 0o440),
        (NOBODY, NOBODY, 0o604),
        (OTHER, GROUP, 0o440),
        (OTHER, GROUP, 0o640),
        (0, GROUP, 0o444),
        (0, GROUP, 0o460),
        (0, GROUP, 0o660),
        (0, GROUP, 0o450),
        (0, GROUP, 0o644),
        (0, FOREIGN_GROUP, 0o444),
    ],
)
def test_a_file_that_others_may_touch_is_refused_with_what_would_be_right(
    file: Path, owner: int, group: int, mode: int
) -> None:
    give(file, owner, group, mode)
    said = read_as(file, NOBODY, [GROUP])
    assert said.startswith(f"{file}: readable by others: ")
    assert f"{mode:04o}" in said
    assert "chmod 600" in said
    assert ("chmod 640" in said) == (owner == 0)


def test_a_file_that_root_gave_to_another_group_cannot_be_read(file: Path) -> None:
    give(file, 0, FOREIGN_GROUP, 0o440)
    assert read_as(file, NOBODY, [GROUP]) == f"{file}: cannot be read (Permission denied)"


def test_root_in_the_group_of_a_mounted_secret_reads_it(file: Path) -> None:
    """A container that runs as root in a pod with `fsGroup`."""
    give(file, 0, GROUP, 0o440)
    assert read_as(file, 0, [GROUP]) == SECRET


@pytest.mark.parametrize(("group", "mode"), [(GROUP, 0o440), (0, 0o440), (0, 0o640)])
def test_roots_own_group_is_no_group_that_a_file_was_given_to(file: Path, group: int, mode: int) -> None:
    """Root needs no group to read its files: the members of that group are other accounts."""
    give(file, 0, group, mode)
    said = read_as(file, 0, [])
    assert "readable by others" in said
    assert f"its group {group} is none of this process (none)" in said


def test_what_a_symbolic_link_leads_to_is_judged(file: Path) -> None:
    give(file, 0, GROUP, 0o440)
    link = file.with_name("link.json")
    link.symlink_to(file)
    os.lchown(link, OTHER, OTHER)
    assert read_as(link, NOBODY, [GROUP]) == SECRET
    file.chmod(0o444)
    assert "readable by others" in read_as(link, NOBODY, [GROUP])


def test_something_else_than_a_file_of_that_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrivateFileError, match="cannot be read"):
        read_private(tmp_path, 100)
    with pytest.raises(PrivateFileError, match="not a regular file"):
        read_private("/dev/null", 100)
    path = tmp_path / "long"
    path.touch(mode=0o600)
    path.write_bytes(bytes(101))
    with pytest.raises(PrivateFileError, match="longer than 100 bytes"):
        read_private(path, 100)
