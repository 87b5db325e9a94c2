"""The worked examples of docs/examples take what the gateway signs and nothing else (R-59, R-62)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from lockgate_trust import LinkKeys, create_link
from lockgate_trust.testing import identity_headers
from tests.support import examples
from tests.support.node_modules import node
from tests.support.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.process

BODY: Final = b'{"text": "milk"}'


class Notes:
    """A running example, and the link keys to it."""

    def __init__(self, url: str, keys: LinkKeys) -> None:
        self.url = url
        self.keys = keys

    def signed(self, method: str, target: str, body: bytes | None = None, **more: Any) -> dict[str, str]:  # noqa: ANN401
        """The headers with which the gateway would pass a request of Zoë's on."""
        path, _, query = target.partition("?")
        given = {"user": "Zo\u00eb", "roles": ["admin", "customer"], **more}
        key = self.keys.outbound(given.pop("to", "notes"))
        signed = identity_headers(key, method=method, path=path, query=query, body=body, **given)
        return {"content-type": "application/json", **dict(signed)}

    def ask(self, method: str, target: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, Any]:
        answer = httpx.request(method, self.url + target, headers=headers, content=body, trust_env=False)
        return answer.status_code, answer.json() if answer.status_code == 200 else None


@pytest.fixture(scope="module", params=["fastapi", "asgi", "node"])
def notes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    links: Path = tmp_path_factory.mktemp("links")
    for target in ("notes", "orders"):
        create_link(links, "gateway", target)
    with examples.running(request.param, links) as url:
        yield Notes(url, LinkKeys.load(links, "gateway"))


def test_a_signed_request_is_answered_to_whom_it_speaks_of(notes: Notes) -> None:
    zoe = {"user": "Zo\u00eb", "roles": ["admin", "customer"]}
    for target in ("/notes/7", "/notes/7?page=2&q=%20a"):
        assert notes.ask("GET", target, notes.signed("GET", target)) == (200, {"note": "7", **zoe})
    headers = notes.signed("POST", "/notes", BODY)
    assert notes.ask("POST", "/notes", headers, BODY) == (200, {"note": "milk", **zoe})


def test_a_refusal_says_which_kind_of_credential_is_missing(notes: Notes) -> None:
    """RFC 9110 section 15.5.2, RFC 9457; the same for each of the examples, and nothing about why."""
    for headers in ({}, notes.signed("GET", "/notes/8")):
        answer = httpx.get(f"{notes.url}/notes/7", headers=headers, trust_env=False)
        assert answer.headers["www-authenticate"] == "Signature"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        problem = answer.json()
        assert problem.pop("code") in {"signature_required", "signature_invalid"}
        title = "A valid identity signature is required"
        assert problem == {
            "type": "about:blank",
            "title": title,
            "status": 401,
            "detail": title,
            "request_id": None,
        }


@pytest.mark.parametrize("seconds", [9, -9, -15])
def test_a_signer_whose_clock_differs_by_less_than_the_leeway_is_accepted(notes: Notes, seconds: float) -> None:
    """R-221: the last one was five seconds on its way, besides, and a busy machine has five more."""
    headers = notes.signed("GET", "/notes/7", now=time.time() + seconds)
    assert notes.ask("GET", "/notes/7", headers)[0] == 200


def test_a_signature_for_a_request_without_a_body_carries_no_body(notes: Notes) -> None:
    """R-223."""
    headers = notes.signed("POST", "/notes")
    answer = httpx.post(f"{notes.url}/notes", headers=headers, content=iter([BODY]), trust_env=False)
    assert answer.status_code == 401


def test_a_request_without_a_user_is_anonymous(notes: Notes) -> None:
    headers = notes.signed("GET", "/notes/7", user=None, roles=())
    assert notes.ask("GET", "/notes/7", headers) == (200, {"note": "7", "user": None, "roles": []})


def test_what_is_not_signed_is_refused(notes: Notes) -> None:
    assert notes.ask("GET", "/notes/7", {}) == (401, None)
    assert notes.ask("GET", "/notes/7", {"x-user-id": "admin", "x-request-id": "request-1"}) == (401, None)


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/notes/8"), ("DELETE", "/notes/7"), ("GET", "/notes/7?a=2"), ("GET", "/notes/%37")]
)
def test_a_signature_is_good_for_its_own_method_path_and_query_only(notes: Notes, method: str, target: str) -> None:
    assert notes.ask(method, target, notes.signed("GET", "/notes/7")) == (401, None)


@pytest.mark.parametrize("change", [{"x-user-id": "admin"}, {"x-session-id": "1"}, {"x-user-roles": None}])
def test_an_identity_header_that_was_changed_added_or_removed_is_refused(
    notes: Notes, change: dict[str, str | None]
) -> None:
    changed = {**notes.signed("GET", "/notes/7"), **change}
    headers = {name: value for name, value in changed.items() if value is not None}
    assert notes.ask("GET", "/notes/7", headers) == (401, None)


def test_an_identity_header_that_comes_twice_is_refused(notes: Notes) -> None:
    headers = [*notes.signed("GET", "/notes/7").items(), ("X-User-Id", "admin")]
    answer = httpx.get(f"{notes.url}/notes/7", headers=headers, trust_env=False)
    assert answer.status_code == 401


def test_another_body_than_the_signed_one_is_refused(notes: Notes) -> None:
    headers = notes.signed("POST", "/notes", BODY)
    assert notes.ask("POST", "/notes", headers, json.dumps({"text": "beer"}).encode()) == (401, None)
    unsigned = notes.signed("POST", "/notes")
    assert notes.ask("POST", "/notes", unsigned, BODY) == (401, None)


def test_a_signature_for_another_service_is_refused(notes: Notes) -> None:
    assert notes.ask("GET", "/notes/7", notes.signed("GET", "/notes/7", to="orders")) == (401, None)


@pytest.mark.parametrize("seconds", [-22, 30])
def test_a_signature_from_the_past_or_the_future_is_refused(notes: Notes, seconds: float) -> None:
    headers = notes.signed("GET", "/notes/7", now=time.time() + seconds)
    assert notes.ask("GET", "/notes/7", headers) == (401, None)


def test_a_signature_is_taken_once(notes: Notes) -> None:
    headers = notes.signed("GET", "/notes/7")
    assert notes.ask("GET", "/notes/7", headers)[0] == 200
    assert notes.ask("GET", "/notes/7", headers) == (401, None)
    # The last character before the padding carries two bits that no byte has: the same signature, spelled anew.
    last = headers["signature"][-3]
    anew = headers["signature"][:-3] + chr(ord(last) + 1) + "=:"
    assert base64.b64decode(anew[10:-1]) == base64.b64decode(headers["signature"][10:-1])
    assert notes.ask("GET", "/notes/7", {**headers, "signature": anew}) == (401, None)


def test_r310_the_tests_beside_the_services_pass(tmp_path: Path) -> None:
    """Those of the README too, on a copy of the FastAPI service."""
    for file in examples.EXAMPLES.glob("*.py"):
        shutil.copy(file, tmp_path)
    shutil.copy(tmp_path / "fastapi_service.py", tmp_path / "notes.py")
    [program] = examples.python_blocks("In a service's own tests")
    (tmp_path / "test_readme.py").write_text(program)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "trust"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - our own test runner
    assert ran.returncode == 0, ran.stdout
    assert "15 passed" in ran.stdout


def test_r310_the_tests_beside_the_node_service_pass(tmp_path: Path) -> None:
    argv = [node(), "--test"]
    ran = subprocess.run(argv, cwd=examples.node_example(tmp_path), capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert ran.returncode == 0, ran.stdout
    assert "# pass 5" in ran.stdout
