from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.cli.devstack.terminal import Terminal
from tests.support.commands import ROOT, WITHIN_S

ADDRESS = "http://127.0.0.1:8080"


def test_the_last_line_of_the_welcome_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().welcome(ADDRESS, Path("data"), "pure Python", tour=True)
    assert capsys.readouterr().out.splitlines()[-1] == f"ready {ADDRESS}"


def test_the_tour_is_six_lines_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().welcome(ADDRESS, Path("data"), "pure Python", tour=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if "curl" in line]
    assert len(lines) == 6
    assert all(line.startswith(("TOKEN=$(curl", "curl")) for line in lines)


@pytest.mark.process
def test_the_token_is_found_in_the_answer_of_a_login(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().welcome(ADDRESS, Path("data"), "pure Python", tour=True)
    login = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("TOKEN="))
    answer = '{"access_token":"a.b-c.d_e","token_type":"Bearer","refresh_token":"lgr_x"}'
    pick = login[login.index("| ") + 2 : -1]
    picked = subprocess.run(  # noqa: S603 - the command that is printed for pasting
        ["/bin/sh", "-c", pick], input=answer, capture_output=True, text=True, check=True, timeout=WITHIN_S
    )
    assert picked.stdout.strip() == "a.b-c.d_e"


def test_without_demo_users_there_is_no_tour(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().welcome(ADDRESS, Path("data"), "pure Python", tour=False)
    assert "curl" not in capsys.readouterr().out


def test_the_address_of_clients_is_told_beside_that_of_the_listener(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().welcome(ADDRESS, Path("data"), "pure Python", tour=False, public="https://app.example")
    lines = capsys.readouterr().out.splitlines()
    assert "  gateway  https://app.example" in lines
    assert lines[-1] == f"ready {ADDRESS}"


@pytest.mark.stack
def test_a_reader_that_has_gone_is_no_reason_to_stop() -> None:
    code = (
        "import sys; from lockgate.cli.devstack.terminal import Terminal; sys.stdin.readline();"
        "Terminal().say('users', 'ready'); print('went on', file=sys.stderr)"
    )
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, errors = process.communicate("go\n", timeout=WITHIN_S)
    assert errors.startswith("went on")
