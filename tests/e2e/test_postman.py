"""The Postman collection is a document that people click through; here newman does, so that it stays true."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.stack import ROOT, running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.stack import Stack

FOLDER: Final = ROOT / "docs" / "postman"
COLLECTION: Final = FOLDER / "lockgate.postman_collection.json"
ENVIRONMENT: Final = FOLDER / "lockgate.postman_environment.json"
WITHIN_S: Final = 120


def collection() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(COLLECTION.read_text(encoding="utf-8"))
    return found


def requests_of(folder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in folder["item"]:
        if "item" in item:
            yield from requests_of(item)
        else:
            yield item


def script_of(item: dict[str, Any]) -> str:
    return "\n".join(line for event in item.get("event", []) for line in event["script"]["exec"])


@pytest.fixture(scope="module")
def newman() -> str:
    if shutil.which("node") is None:
        pytest.skip("node is not installed, and newman needs it")
    found = shutil.which("newman", path=ROOT / ".venv" / "node" / "node_modules" / ".bin") or shutil.which("newman")
    if found is None:
        pytest.skip("newman is not installed; `make test` installs it where npm is")
    return found


def run(newman: str, url: str, report: Path) -> tuple[int, dict[str, Any]]:
    """Click through the collection; gives newman's exit code and its report."""
    files = [str(COLLECTION), "--environment", str(ENVIRONMENT), "--env-var", f"baseUrl={url}"]
    reporting = ["--reporters", "cli,json", "--reporter-json-export", str(report), "--color", "off"]
    timeouts = ["--timeout-request", "10000", "--disable-unicode"]
    done = subprocess.run(  # noqa: S603 - newman, which the fixture found
        [newman, "run", *files, *reporting, *timeouts], capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    print(done.stdout, done.stderr)  # noqa: T201 - pytest shows it when the test fails
    return done.returncode, json.loads(report.read_text(encoding="utf-8"))["run"]


@pytest.mark.stack
@pytest.mark.slow
def test_every_request_of_the_collection_keeps_its_promises_twice_in_a_row(
    newman: str, stack: Stack, tmp_path: Path
) -> None:
    """R-50 (the forged identity). Twice, because a person runs it again without a new stack."""
    names = [item["name"] for item in requests_of(collection())]
    for _ in range(2):
        code, result = run(newman, stack.url, tmp_path / "report.json")
        assert [execution["item"]["name"] for execution in result["executions"]] == names
        assert result["failures"] == []
        assert code == 0


@pytest.mark.stack
@pytest.mark.slow
def test_a_stack_without_the_demo_users_fails_the_requests_that_need_them_and_no_other(
    newman: str, tmp_path: Path
) -> None:
    """So the tests in the collection can fail."""
    with running_stack(tmp_path, "--no-seed") as unseeded:
        code, result = run(newman, unseeded.url, tmp_path / "report.json")
    assert code != 0
    failed = {failure["source"]["name"] for failure in result["failures"]}
    assert {"Log in", "Who am I", "Orders: place an order", "My sessions", "Refresh", "Log out"} <= failed
    assert not {"It is alive", "No credentials: refused", "An unknown user: refused"} & failed


def test_every_request_says_what_it_shows_and_tests_it() -> None:
    asked = list(requests_of(collection()))
    assert len(asked) > len(collection()["item"])
    for item in asked:
        assert item["request"]["description"], item["name"]
        assert "pm.test(" in script_of(item), item["name"]


def test_every_folder_says_what_it_shows_and_they_are_in_the_order_of_their_numbers() -> None:
    folders = collection()["item"]
    assert all(folder["description"] for folder in folders)
    assert [int(folder["name"].split()[0]) for folder in folders] == list(range(1, len(folders) + 1))


def test_names_are_unique_so_that_a_failure_is_found() -> None:
    names = [item["name"] for item in requests_of(collection())]
    assert len(set(names)) == len(names)


def test_what_the_collection_uses_is_in_the_environment_and_nothing_else() -> None:
    whole = collection()
    scripts = "\n".join([script_of(whole), *map(script_of, requests_of(whole))])
    used = set(re.findall(r"\{\{(\w+)\}\}", COLLECTION.read_text(encoding="utf-8")))
    used |= set(re.findall(r'pm\.environment\.[gs]et\("(\w+)"', scripts))
    values = json.loads(ENVIRONMENT.read_text(encoding="utf-8"))["values"]
    assert {value["key"] for value in values} == used


def test_no_token_was_saved_into_the_environment() -> None:
    values = json.loads(ENVIRONMENT.read_text(encoding="utf-8"))["values"]
    assert all(not value["value"] for value in values if value["key"].endswith("Token"))
