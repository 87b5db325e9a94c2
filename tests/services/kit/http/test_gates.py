"""What every service refuses before a route is reached; shown on the users service."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate_shop.kit.http.body import MAX_BODY, NotStrictError, parse_strict_json
from lockgate_shop.kit.http.links import LinkTable
from lockgate_shop.kit.problem import LINK_REFUSED, NOT_FOUND
from lockgate_shop.kit.process.run import let_database_threads_end
from lockgate_shop.users.app import create_app as create_users
from lockgate_shop.users.settings import UsersSettings
from lockgate_trust import Body, LiveLinkKeys, signed_headers
from tests.support.charsets import NOT_UTF_8, UTF_8
from tests.support.peers import NO_AUTHORITY, Clock, Peer, Who, opened, problem, served
from tests.support.shop_calls import CAROL, count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

    from tests.support.peers import Links

MARK = "mark-that-must-not-come-back"


@pytest.mark.parametrize(
    "path", ["/users/register", "/users/me", "/internal/credentials/verify", "/nowhere", "/docs", "/openapi.json"]
)
async def test_an_unsigned_request_is_refused_and_stores_nothing(users: Peer, users_app: FastAPI, path: str) -> None:
    spoofed = {"x-user-id": "admin", "x-user-roles": "admin", "x-request-id": "r", "x-caller": "gateway"}
    answer = await users.http.post(path, json=CAROL, headers=spoofed)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert await count(users_app) == 0


@pytest.mark.parametrize(
    "spoof", [{"x-user-id": "admin"}, {"x-user-roles": "admin"}, {"x-caller": "orders"}, {"x-session-id": "s"}]
)
async def test_an_identity_header_beside_the_signature_is_refused(
    users: Peer, users_app: FastAPI, spoof: dict[str, str]
) -> None:
    answer = await users.call("POST", "/users/register", CAROL, headers=spoof)
    assert answer.status_code == 401
    assert await count(users_app) == 0


async def test_a_signature_for_another_service_is_refused(
    users: Peer, users_app: FastAPI, links: Links, clock: Clock
) -> None:
    lost = Peer(users.http, links, "gateway", "orders", clock)
    answer = await lost.call("POST", "/users/register", CAROL)
    assert answer.status_code == 401
    assert await count(users_app) == 0


@pytest.mark.parametrize("drift", [-60, 60])
async def test_a_signature_out_of_its_window_is_refused(
    users: Peer, users_app: FastAPI, links: Links, clock: Clock, drift: int
) -> None:
    other = Clock()
    other.now = clock.now + drift
    answer = await Peer(users.http, links, "gateway", "users", other).call("POST", "/users/register", CAROL)
    assert answer.status_code == 401
    assert await count(users_app) == 0


async def test_a_captured_request_cannot_be_sent_again(users: Peer, users_app: FastAPI) -> None:
    first = await users.call("POST", "/users/register", CAROL)
    captured = first.request
    answer = await users.http.request("POST", "/users/register", headers=captured.headers, content=captured.content)
    assert answer.status_code == 401
    assert await count(users_app) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]]",
        b'{"username": "a", "username": "b", "password": "cccccccc"}',
        b'{"username": NaN}',
        b'{"username": 1e999}',
        b'{"username": ' + b"9" * 21 + b"}",
        b'{"username": "\\ud800", "password": "cccccccc"}',
        b'{"\\udfff": 1}',
        b'{"username": "a\\u0000b", "password": "cccccccc"}',
        b'\xef\xbb\xbf{"username": "abc", "password": "cccccccc"}',
        '{"username": "abc", "password": "cccccccc"}'.encode("utf-16"),
        b'{"username": "\xff"}',
        b"[" * 33 + b"]" * 33,
        b"[" * 30_000,
    ],
)
async def test_json_that_readers_disagree_about_is_refused(users: Peer, users_app: FastAPI, raw: bytes) -> None:
    answer = await users.call("POST", "/users/register", raw=raw)
    assert (answer.status_code, problem(answer)["code"]) == (400, "unreadable_body")
    assert await count(users_app) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json, text/plain"},
        {"content-type": ""},
        {"content-encoding": "gzip"},
    ],
)
async def test_another_kind_of_body_is_refused(users: Peer, users_app: FastAPI, headers: dict[str, str]) -> None:
    answer = await users.call("POST", "/users/register", CAROL, headers=headers)
    assert (answer.status_code, problem(answer)["code"]) == (415, "unsupported_media_type")
    assert await count(users_app) == 0


@pytest.mark.parametrize("parameters", UTF_8)
async def test_a_body_may_name_the_charset_that_it_has(users: Peer, parameters: str) -> None:
    """R-206"""
    media = {"content-type": f"Application/JSON{parameters}"}
    assert (await users.call("POST", "/users/register", CAROL, headers=media)).status_code == 201


@pytest.mark.parametrize("parameters", NOT_UTF_8)
async def test_another_charset_is_refused(users: Peer, users_app: FastAPI, parameters: str) -> None:
    """R-105"""
    media = {"content-type": f"application/json{parameters}"}
    answer = await users.call("POST", "/users/register", CAROL, headers=media)
    assert (answer.status_code, problem(answer)["detail"]) == (415, "The charset of a body is UTF-8")
    assert await count(users_app) == 0


async def test_an_unsupported_media_type_names_the_accepted_one(users: Peer) -> None:
    """RFC 9110 section 15.5.16"""
    answer = await users.call("POST", "/users/register", CAROL, headers={"content-type": "text/plain"})
    assert (problem(answer)["accepted"], answer.headers["accept"]) == (["application/json"], "application/json")
    coded = await users.call("POST", "/users/register", CAROL, headers={"content-encoding": "gzip"})
    assert coded.headers["accept-encoding"] == "identity"


async def test_a_body_of_thousands_of_faults_is_told_of_in_few_words(users: Peer) -> None:
    answer = await users.call("POST", "/users/register", {f"x{number}": 1 for number in range(4000)})
    assert len(problem(answer)["errors"]) == 3


async def test_a_body_over_64_kib_is_refused_unread_by_any_route(users: Peer, users_app: FastAPI) -> None:
    body = json.dumps({**CAROL, "display_name": "x" * MAX_BODY}).encode()
    answer = await users.call("POST", "/users/register", raw=body)
    assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")
    assert await count(users_app) == 0


@pytest.mark.parametrize(
    "body",
    [
        {"username": [MARK], "password": MARK},
        {"username": "carol", "password": "long enough", MARK: 1},
        {"username": "carol", "password": "long enough", "email": MARK},
        {"username": MARK * 9, "password": "long enough"},
        {"password": MARK},
        [MARK],
        MARK,
    ],
)
async def test_a_problem_answer_echoes_nothing(users: Peer, users_app: FastAPI, body: object) -> None:
    answer = await users.call("POST", "/users/register", body)
    assert answer.status_code == 400
    assert problem(answer)["request_id"] == "request-1"
    assert MARK not in answer.text
    assert await count(users_app) == 0


async def test_a_wrong_field_is_named_by_place_and_rule(users: Peer) -> None:
    answer = await users.call("POST", "/users/register", {"username": 1, "extra": 2})
    errors = problem(answer)["errors"]
    assert {"field": "body.username", "rule": "string_type"} in errors
    assert {"field": "body.password", "rule": "missing"} in errors
    assert {"field": "body", "rule": "extra_forbidden"} in errors


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/users/", 404, "not_found"),
        ("GET", "/users/me/", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/internal", 404, "not_found"),
        ("GET", "/internal/credentials", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/openapi.json", 404, "not_found"),
        ("DELETE", "/users/me", 405, "method_not_allowed"),
        ("GET", "/internal/credentials/verify", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_says_so(users: Peer, method: str, path: str, status: int, code: str) -> None:
    answer = await users.call(method, path, who=Who("user-id"))
    assert (answer.status_code, problem(answer)["code"]) == (status, code)


async def test_probes_need_no_signature(users: Peer) -> None:
    assert (await users.http.get("/healthz")).json() == {"status": "alive"}
    assert (await users.http.get("/readyz")).json() == {"status": "ready", "database": "ok"}


async def test_a_link_key_that_others_may_read_shows_on_readyz(links: Links, clock: Clock, tmp_path: Path) -> None:
    """R-215: a warning that names no file, for as long as it lasts; the service goes on."""
    looked = Clock()
    keys = LiveLinkKeys(links.directory, "users", clock=looked)
    settings = UsersSettings(database_url=f"sqlite:///{tmp_path / 'users.db'}")
    path = links.directory / "gateway--users.json"
    async with opened(create_users(settings, keys, clock)) as http:
        path.chmod(0o644)
        looked.now += 1
        answer = await http.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["keys"].startswith("warning: ")
        assert str(links.directory) not in answer.text
        path.chmod(0o600)
        looked.now += 1
        assert (await http.get("/readyz")).json() == {"status": "ready", "database": "ok"}


async def test_personal_answers_are_not_to_be_cached(users: Peer) -> None:
    answer = await users.call("POST", "/users/register", CAROL)
    assert answer.headers["cache-control"] == "no-store"


async def test_without_its_database_a_service_is_alive_and_not_ready(
    tmp_path: Path, links: Links, clock: Clock
) -> None:
    file = tmp_path / "users.db"
    app = create_users(UsersSettings(database_url=f"sqlite:///{file}"), links.of("users"), clock)
    async with opened(app) as http:
        await app.state.database.close()
        file.unlink()
        file.mkdir()
        assert (await http.get("/healthz")).status_code == 200
        ready = await http.get("/readyz")
        assert (ready.status_code, problem(ready)["code"]) == (503, "store_unavailable")
        answer = await Peer(http, links, "gateway", "users", clock).call("POST", "/users/register", CAROL)
        assert (answer.status_code, problem(answer)["code"]) == (503, "store_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
    let_database_threads_end()


async def test_a_fault_of_ours_is_one_plain_500(users: Peer, users_app: FastAPI) -> None:
    users_app.state.accounts = None
    answer = await users.call("GET", "/users/me", who=Who(MARK))
    assert (answer.status_code, problem(answer)["code"]) == (500, "internal_error")
    assert MARK not in answer.text


@pytest.mark.usefixtures("users")
async def test_a_chunked_body_over_the_limit_is_cut_off(users_app: FastAPI, links: Links, clock: Clock) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 1024

    # Streamed, so not covered by the signature: it has to be stopped by counting.
    signed = signed_headers(
        links.of("gateway").outbound("users"),
        method="POST",
        path="/users/register",
        headers=[("x-request-id", "request-1")],
        body=Body.STREAMED,
        now=clock(),
    )
    async with served(users_app) as url, httpx.AsyncClient(base_url=url, trust_env=False, verify=NO_AUTHORITY) as http:
        answer = await http.post("/users/register", headers=dict(signed), content=endless())
    assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")
    assert await count(users_app) == 0


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(-(10**18), 10**18),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
)
def test_json_of_ours_is_strict_unless_its_text_cannot_be_stored(value: object) -> None:
    body = json.dumps(value).encode()
    storable = "\\u0000" not in body.decode() and "\\ud" not in body.decode()
    if storable:
        assert parse_strict_json(body) == value


@given(st.binary(max_size=200))
def test_no_bytes_make_the_gate_fail(body: bytes) -> None:
    with contextlib.suppress(NotStrictError):
        assert json.dumps(parse_strict_json(body))


def test_the_longest_prefix_of_whole_segments_decides() -> None:
    table = LinkTable({"/a": frozenset({"gateway"}), "/a/b": frozenset({"orders"})})
    assert table.find_refusal("/a", "gateway") is None
    assert table.find_refusal("/a/x", "gateway") is None
    assert table.find_refusal("/a/b", "gateway") == LINK_REFUSED
    assert table.find_refusal("/a/b/c", "orders") is None
    assert table.find_refusal("/a/bc", "orders") == LINK_REFUSED
    assert table.find_refusal("/ab", "gateway") == NOT_FOUND
    assert table.find_refusal("", "gateway") == NOT_FOUND
