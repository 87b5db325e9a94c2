"""With CI=true a skipped test is a failed one: what needs node or a browser must not go unnoticed there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

SKIPPING: Final = {
    "by the test": "import pytest\ndef test_it():\n    pytest.skip('no node')\n",
    "by a mark": "import pytest\n@pytest.mark.skip(reason='no node')\ndef test_it():\n    pass\n",
    "by a fixture": (
        "import pytest\n@pytest.fixture\ndef it():\n    pytest.skip('no node')\ndef test_it(it):\n    pass\n"
    ),
    "by the module": "import pytest\npytest.skip('no node', allow_module_level=True)\n",
}
EXPECTED_FAILURE: Final = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n"


def run(folder: Path, test: str, *, ci: str) -> subprocess.CompletedProcess[str]:
    """pytest on one file, with the hooks of these tests and nothing else of them."""
    file = folder / "test_it.py"
    file.write_text(test)
    return subprocess.run(  # noqa: S603 - our own test runner
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            "-ra",
            "-c",
            os.devnull,
            file,
        ],
        cwd=folder,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("test", SKIPPING.values(), ids=SKIPPING.keys())
def test_in_ci_a_skip_fails_and_keeps_its_reason(tmp_path: Path, test: str) -> None:
    result = run(tmp_path, test, ci="true")
    assert result.returncode != 0
    assert "nothing may be skipped; this was: " in result.stdout
    assert "no node" in result.stdout


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    result = run(tmp_path, SKIPPING["by a fixture"], ci="")
    assert result.returncode == 0
    assert "1 skipped" in result.stdout


def test_data_that_is_not_ours_may_be_missing_in_ci_too(tmp_path: Path) -> None:
    test = "import pytest\n@pytest.mark.foreign_data\ndef test_it():\n    pytest.skip('no vectors')\n"
    result = run(tmp_path, test, ci="true")
    assert result.returncode == 0
    assert "1 skipped" in result.stdout


def quarantined(number: int) -> str:
    return f"import pytest\n@pytest.mark.flaky(reason='races')\ndef test_it_{number}():\n    assert False\n"


def test_a_test_in_quarantine_runs_is_reported_and_does_not_decide(tmp_path: Path) -> None:
    result = run(tmp_path, quarantined(1), ci="true")
    assert result.returncode == 0
    assert "quarantine: races" in result.stdout
    assert "1 xfailed" in result.stdout


def test_four_tests_in_quarantine_are_too_many(tmp_path: Path) -> None:
    result = run(tmp_path, "".join(map(quarantined, range(4))), ci="true")
    assert result.returncode != 0
    assert "at most 3 tests may be in quarantine" in result.stdout + result.stderr


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    result = run(tmp_path, EXPECTED_FAILURE, ci="true")
    assert result.returncode == 0
    assert "1 xfailed" in result.stdout
