"""`lockgate users | sessions | tokens | clients` against a running stack."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import httpx
import pytest

from lockgate_shop.users.demo import PASSWORD
from tests.support.commands import CONFIG, ROOT, WITHIN_S, called

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stack import Stack

Lockgate: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
USER: Final = "bob"

pytestmark = pytest.mark.stack


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=WITHIN_S, trust_env=False) as client:
        yield client


@pytest.fixture
def lockgate(stack: Stack) -> Lockgate:
    """Runs the program with the environment that the stack's own gateway has."""
    environment = _environment(stack)

    def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return called(*arguments, "--config", CONFIG, stdin=stdin, **environment)

    return command


def _environment(stack: Stack) -> dict[str, str]:
    for pid in stack.processes():
        entries = (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
        found = dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)
        if "REDIS_URL" in found:
            return {name: value for name, value in found.items() if name.startswith(("LOCKGATE_", "REDIS_URL"))}
    raise AssertionError("no process of the stack knows its Redis")


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def login(http: httpx.Client, user: str = USER) -> dict[str, Any]:
    answer = http.post("/auth/login", json={"username": user, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def administers(http: httpx.Client, tokens: dict[str, Any]) -> int:
    return http.get("/admin/routes", headers={"authorization": f"Bearer {tokens['access_token']}"}).status_code


def status(http: httpx.Client, tokens: dict[str, Any]) -> int:
    return http.get("/auth/me", headers={"authorization": f"Bearer {tokens['access_token']}"}).status_code


def test_a_user_is_blocked_and_unblocked(http: httpx.Client, lockgate: Lockgate) -> None:
    tokens = login(http)
    assert as_json(lockgate("users", "show", USER, "--json"))["status"] == "active"
    try:
        blocked = as_json(lockgate("users", "block", USER, "--json"))
        assert status(http, tokens) == 401
        refused = http.post("/auth/login", json={"username": USER, "password": PASSWORD})
        assert refused.json()["code"] == "invalid_grant"
    finally:
        unblocked = lockgate("users", "unblock", blocked["sub"])
    assert unblocked.stdout == f"{blocked['sub']} may log in again\n"
    event = json.loads(unblocked.stderr)
    assert (event["event"], event["sub"], event["actor"][:3]) == ("user.unblocked", blocked["sub"], "cli")
    assert status(http, login(http)) == 200


def test_the_first_administrator_is_made_by_a_command_and_ends_by_one_at_once(
    http: httpx.Client, lockgate: Lockgate
) -> None:
    name = f"first-{secrets.token_hex(4)}"
    registered = http.post("/users/register", json={"username": name, "password": PASSWORD})
    assert registered.status_code == 201, registered.text
    tokens = login(http, name)
    granted = lockgate("users", "grant", name, "admin")
    assert granted.returncode == 0, granted.stderr
    assert granted.stdout == f"{name} is now: customer admin; tokens tell of it from the next login or refresh on\n"
    event = json.loads(granted.stderr)
    assert (event["event"], event["role"], event["actor"][:3]) == ("role.granted", "admin", "cli")
    refreshed = http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
    assert [administers(http, one) for one in (tokens, refreshed)] == [403, 200]
    revoked = as_json(lockgate("users", "revoke-role", name, "admin", "--json"))
    assert revoked == {"sub": registered.json()["id"], "roles": ["customer"]}
    assert [administers(http, one) for one in (tokens, refreshed)] == [401, 401]
    assert as_json(lockgate("users", "show", name, "--json"))["roles"] == ["customer"]


def test_sessions_are_listed_and_ended(http: httpx.Client, lockgate: Lockgate) -> None:
    first, second = login(http), login(http)
    listed = {one["session_id"] for one in as_json(lockgate("sessions", "list", USER, "--json"))["sessions"]}
    assert {first["session_id"], second["session_id"]} <= listed
    assert first["session_id"] in lockgate("sessions", "list", USER).stdout
    assert lockgate("sessions", "end", USER, first["session_id"]).returncode == 0
    assert [status(http, tokens) for tokens in (first, second)] == [401, 200]
    again = lockgate("sessions", "end", USER, first["session_id"])
    assert (again.returncode, again.stdout) == (1, "")
    assert as_json(lockgate("sessions", "end", USER, "--json"))["ended"] == "all"
    assert status(http, second) == 401
    assert "is not logged in" in lockgate("sessions", "list", USER).stdout


def test_a_token_is_inspected_and_its_end_is_seen(http: httpx.Client, lockgate: Lockgate) -> None:
    tokens = login(http)
    inspected = as_json(lockgate("tokens", "inspect", "-", "--json", stdin=tokens["access_token"] + "\n"))
    assert inspected["verdict"] == "valid"
    assert inspected["claims"]["sid"] == tokens["session_id"]
    refresh = as_json(lockgate("tokens", "inspect", tokens["refresh_token"], "--json"))
    assert (refresh["kind"], refresh["sid"], refresh["generation"]) == ("refresh token", tokens["session_id"], 0)
    assert refresh["verdict"] == "valid"
    http.post("/auth/logout", headers={"authorization": f"Bearer {tokens['access_token']}"})
    gone = lockgate("tokens", "inspect", tokens["access_token"])
    assert (gone.returncode, gone.stderr) == (1, "")
    assert "its session has ended" in gone.stdout
    over = lockgate("tokens", "inspect", tokens["refresh_token"], "--json")
    assert (over.returncode, json.loads(over.stdout)["verdict"]) == (1, "used up, or its session is over")


@pytest.mark.parametrize(
    ("end", "verdict"),
    [("revoke", "revoked"), ("logout-all", "its user was logged out everywhere, blocked, or lost a role")],
)
def test_the_end_of_a_token_is_told_apart(http: httpx.Client, lockgate: Lockgate, end: str, verdict: str) -> None:
    tokens = login(http)
    if end == "revoke":
        http.post("/auth/revoke", json={"token": tokens["access_token"]})
    else:
        http.post("/auth/logout-all", headers={"authorization": f"Bearer {tokens['access_token']}"})
    told = lockgate("tokens", "inspect", "-", "--json", stdin=tokens["access_token"])
    assert (told.returncode, json.loads(told.stdout)["verdict"]) == (1, verdict)


def test_where_redis_does_not_answer_what_the_token_says_is_told_all_the_same(http: httpx.Client, stack: Stack) -> None:
    tokens = login(http)
    environment = {**_environment(stack), "REDIS_URL": "unix:///nowhere/redis.sock"}
    for token in (tokens["access_token"], tokens["refresh_token"]):
        told = called("tokens", "inspect", token, "--json", "--config", CONFIG, **environment)
        assert told.returncode == 1
        assert json.loads(told.stdout)["verdict"].endswith("it did not answer (there is no socket at its path)")


@pytest.mark.parametrize("token", ["nonsense", "", "lgr_x", "a.b.c"])
def test_what_is_no_token_of_ours_is_said_to_be_none(lockgate: Lockgate, token: str) -> None:
    told = lockgate("tokens", "inspect", token, "--json")
    assert (told.returncode, told.stderr) == (1, "")
    assert "valid" not in json.loads(told.stdout)["verdict"]


def test_a_client_is_added_listed_and_removed(http: httpx.Client, lockgate: Lockgate) -> None:
    added = as_json(lockgate("clients", "add", "nightly", "--scope", "orders:read", "--json"))
    form = {"grant_type": "client_credentials"}
    credentials = ("nightly", added["client_secret"])
    token = http.post("/auth/token", data=form, auth=credentials)
    assert token.json()["scope"] == "orders:read"
    listed = lockgate("clients", "list")
    assert "nightly" in listed.stdout
    assert added["client_secret"] not in listed.stdout
    twice = lockgate("clients", "add", "nightly")
    assert (twice.returncode, "already" in twice.stderr) == (1, True)
    assert lockgate("clients", "remove", "nightly").returncode == 0
    assert status(http, token.json()) == 401
    assert http.post("/auth/token", data=form, auth=credentials).status_code == 401
    assert lockgate("clients", "remove", "nightly").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("clients", "add", "No"), 2),
        (("clients", "add", "nightly", "--scope", "everything"), 2),
        (("users", "block", "nobody-at-all"), 1),
        (("sessions", "list", "nobody-at-all"), 1),
        (("users", "grant", "nobody-at-all", "admin"), 1),
        (("users", "revoke-role", USER, "customer"), 1),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    lockgate: Lockgate, arguments: tuple[str, ...], exit_code: int
) -> None:
    done = lockgate(*arguments)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert done.stderr.startswith("lockgate: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("emperor", "there is no such role: 'emperor'; [roles] has admin, customer"),
        ("admins", "there is no such role: 'admins'; [roles] has admin, customer; did you mean admin?"),
    ],
)
def test_a_role_that_there_is_not_leads_to_those_that_there_are(lockgate: Lockgate, role: str, said: str) -> None:
    done = lockgate("users", "grant", USER, role)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"lockgate: {said}\n")


@pytest.mark.parametrize(
    ("variable", "address", "said"),
    [
        (
            "REDIS_URL",
            "unix:///nowhere/redis.sock",
            "Redis cannot be reached, or did not do it (there is no socket at its path)",
        ),
        (
            "LOCKGATE_UPSTREAMS__USERS",
            '["http://127.0.0.1:9"]',
            "the users service cannot be reached, or did not do it",
        ),
    ],
)
def test_what_is_away_is_said_by_its_name(stack: Stack, variable: str, address: str, said: str) -> None:
    environment = {**_environment(stack), variable: address}
    done = called("users", "block", USER, "--config", CONFIG, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"lockgate: {said}" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_the_users_service_away_a_user_named_by_id_is_shut_out(
    http: httpx.Client, stack: Stack, lockgate: Lockgate
) -> None:
    tokens = login(http)
    sub = as_json(lockgate("users", "show", USER, "--json"))["sub"]
    environment = {**_environment(stack), "LOCKGATE_UPSTREAMS__USERS": '["http://127.0.0.1:9"]'}
    try:
        by_name = called("users", "block", USER, "--config", CONFIG, **environment)
        assert (by_name.returncode, "name the user by id" in by_name.stderr) == (1, True)
        assert status(http, tokens) == 200
        by_id = called("users", "block", sub, "--config", CONFIG, **environment)
        assert (by_id.returncode, by_id.stdout) == (1, "")
        assert "sessions have ended and logins are barred for two minutes" in by_id.stderr
        assert status(http, tokens) == 401
    finally:
        assert lockgate("users", "unblock", sub).returncode == 0
    again = login(http)
    ended = called("sessions", "end", sub, "--config", CONFIG, **environment)
    assert (ended.returncode, status(http, again)) == (0, 401)


@pytest.mark.parametrize(
    "command",
    [
        ("users", "show"),
        ("users", "block"),
        ("sessions", "end", USER),
        ("users", "grant", USER),
        ("clients", "remove"),
        ("clients", "add", "nightly", "--scope"),
        ("keys", "remove"),
        ("keys", "init", "--link"),
        ("serve", "--host"),
    ],
)
def test_a_token_in_the_wrong_place_is_not_repeated(
    http: httpx.Client, lockgate: Lockgate, command: tuple[str, ...]
) -> None:
    #
    tokens = login(http)
    for token in (tokens["access_token"], tokens["refresh_token"]):
        done = lockgate(*command, token)
        assert done.returncode in (1, 2)
        assert done.stderr.startswith("lockgate: ")
        assert token[:12] not in done.stdout + done.stderr
    assert status(http, tokens) == 200


@pytest.mark.parametrize("command", [("tokens",), ("users", "block", USER), ("keys",), ()])
def test_a_command_line_that_is_wrong_for_a_token_in_it_is_not_repeated(command: tuple[str, ...]) -> None:
    #
    for token in ("lgr_a-secret", "eyJhbGciOiJFZERTQSJ9.a-secret.a-secret"):
        done = called(*command, token)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Error: " in done.stderr
        assert "secret" not in done.stderr
        assert token[:12] not in done.stderr


def test_without_a_redis_it_says_what_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "lockgate.cli", "clients", "list", "--config", str(CONFIG)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 2
    assert "redis_url is not set" in done.stderr
