"""Programs that run as another account than the tests: only there do owner, group and mode of a file take effect."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.stack import ROOT

NOBODY: Final = 65534
GROUP, FOREIGN_GROUP = 12_345, 54_321
"""One that programs here are put into, and one that they are not."""

_BECOME: Final = """
import os
os.setgroups({groups})
os.setgid({account})
os.setuid({account})
"""


def needs_root() -> None:
    """Skip where the tests cannot become another account, or give files away."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another account and give files away")


def said_by(imports: str, program: str, *, account: int = NOBODY, groups: Collection[int] = (GROUP,)) -> str:
    """The output of a program.

    Args:
        imports: run first, as root: where Python is installed, the other account may not be able to look.
        program: run as the other account.
        account: the number of the user, and of the primary group.
        groups: supplementary ones.
    """
    needs_root()
    source = imports + _BECOME.format(groups=list(groups), account=account) + program
    command = [sys.executable, "-c", source]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every account can look into, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="lockgate-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


def give(path: Path, owner: int, group: int, mode: int) -> None:
    """Set owner, group and mode of a file."""
    os.chown(path, owner, group)
    path.chmod(mode)
