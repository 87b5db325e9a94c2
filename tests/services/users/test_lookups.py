"""The two calls behind login and refresh: one corpus of requests, and the response to each of them to the letter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from structlog.testing import capture_logs

from lockgate_shop.users.models import Account
from tests.support.peers import Peer, Who, problem
from tests.support.shop_calls import CAROL, database_of, registered

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx
    from fastapi import FastAPI

    from tests.support.peers import Clock, Links

VERIFY: Final = "/internal/credentials/verify"
ACCOUNTS: Final = "/internal/accounts/"
ABSENT: Final = "00000000-0000-4000-8000-000000000000"
INVALID: Final = '{"valid":false}'
RIGHT: Final = b'{"username":"carol","password":"a-long-enough-one"}'
PROBLEM: Final = {"content-type": "application/problem+json", "cache-control": "no-store"}
JSON: Final = {"content-type": "application/json", "cache-control": "no-store"}
ACCEPT: Final = {**PROBLEM, "accept": "application/json"}


@dataclass(frozen=True)
class Case:
    """A request and what is said to it.

    Attributes:
        name: what is special about the request.
        raw: its body.
        status, code: of the response; no code for one that is no problem.
        errors: field and rule of each fault.
        headers: all of the response but its length.
        sent: header fields of the request beside its signature.
    """

    name: str
    raw: bytes
    status: int
    code: str | None = None
    errors: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=lambda: PROBLEM)
    sent: Mapping[str, str] = field(default_factory=dict)


def _unreadable(name: str, raw: bytes) -> Case:
    return Case(name, raw, 400, "unreadable_body")


def _invalid(name: str, raw: bytes, *errors: tuple[str, str]) -> Case:
    return Case(name, raw, 400, "invalid_fields", errors)


def _media(name: str, sent: Mapping[str, str], headers: Mapping[str, str] = ACCEPT) -> Case:
    return Case(name, RIGHT, 415, "unsupported_media_type", headers=headers, sent=sent)


def _told_wrong(name: str, raw: bytes, sent: Mapping[str, str] | None = None) -> Case:
    return Case(name, raw, 200, headers=JSON, sent=sent or {})


MISSING_USERNAME: Final = ("body.username", "missing")
MISSING_PASSWORD: Final = ("body.password", "missing")
NO_OBJECT: Final = ("body", "model_attributes_type")

VERIFY_CASES: Final = (
    _told_wrong("wrong password", b'{"username":"carol","password":"another-long-one"}'),
    _told_wrong("unknown account", b'{"username":"mallory","password":"a-long-enough-one"}'),
    _told_wrong("name that no account can have", b'{"username":"no body","password":"a-long-enough-one"}'),
    _told_wrong("empty texts", b'{"username":"","password":""}'),
    _told_wrong("name beyond any spelling", b'{"username":"' + b"c" * 200 + b'","password":"a-long-enough-one"}'),
    _told_wrong("password beyond any hash", b'{"username":"carol","password":"' + b"x" * 1600 + b'"}'),
    _told_wrong("charset utf-8", RIGHT.replace(b"one", b"two"), {"content-type": 'Application/JSON; Charset="UTF-8"'}),
    _unreadable("cut off", RIGHT[:-1]),
    _unreadable("two values", RIGHT + b"{}"),
    _unreadable("white space alone", b"  "),
    _unreadable("repeated member", b'{"username":"carol","username":"carol","password":"a-long-enough-one"}'),
    _unreadable("repeated member in two spellings", b'{"username":"carol","\\u0075sername":"c","password":"a"}'),
    _unreadable("not a number", b'{"username":NaN,"password":"a-long-enough-one"}'),
    _unreadable("infinite number", b'{"username":1e999,"password":"a-long-enough-one"}'),
    _unreadable("long number", b'{"username":' + b"9" * 21 + b',"password":"a"}'),
    _unreadable("lone surrogate", b'{"username":"\\ud800","password":"a-long-enough-one"}'),
    _unreadable("zero character", b'{"username":"carol\\u0000","password":"a-long-enough-one"}'),
    _unreadable("byte order mark", b"\xef\xbb\xbf" + RIGHT),
    _unreadable("UTF-16", RIGHT.decode().encode("utf-16")),
    _unreadable("overlong UTF-8", b'{"username":"\xc1\xa1","password":"a"}'),
    _unreadable("not UTF-8", b'{"username":"\xff","password":"a-long-enough-one"}'),
    _unreadable("too deep", b'{"username":' + b"[" * 33 + b"]" * 33 + b',"password":"a"}'),
    _unreadable("far too deep", b"[" * 30_000),
    Case("oversize", b'{"username":"' + b"x" * 65_536 + b'","password":"a"}', 413, "body_too_large"),
    _invalid("no body", b"", ("body", "missing")),
    _invalid("no object", b'["carol"]', NO_OBJECT),
    _invalid("a text", b'"carol"', NO_OBJECT),
    _invalid("null", b"null", NO_OBJECT),
    _invalid("empty object", b"{}", MISSING_USERNAME, MISSING_PASSWORD),
    _invalid("no password", b'{"username":"carol"}', MISSING_PASSWORD),
    _invalid("no name", b'{"password":"a-long-enough-one"}', MISSING_USERNAME),
    _invalid("null name", b'{"username":null,"password":"a"}', ("body.username", "string_type")),
    _invalid("number for a name", b'{"username":7,"password":"a"}', ("body.username", "string_type")),
    _invalid("true for a password", b'{"username":"carol","password":true}', ("body.password", "string_type")),
    _invalid(
        "object and list",
        b'{"username":{},"password":[]}',
        ("body.username", "string_type"),
        ("body.password", "string_type"),
    ),
    _invalid("unknown member", RIGHT[:-1] + b',"sub":"x"}', ("body", "extra_forbidden")),
    _invalid("other case", b'{"Username":"carol","password":"a"}', MISSING_USERNAME, ("body", "extra_forbidden")),
    _media("text", {"content-type": "text/plain"}),
    _media("form", {"content-type": "application/x-www-form-urlencoded"}),
    _media("no media type", {"content-type": ""}),
    _media("charset utf-16", {"content-type": "application/json; charset=utf-16"}),
    _media("two charsets", {"content-type": "application/json; charset=utf-8; charset=utf-8"}),
    _media("another JSON", {"content-type": "application/problem+json"}),
    _media("coded", {"content-encoding": "gzip"}, {**ACCEPT, "accept-encoding": "identity"}),
)


def assert_told(answer: httpx.Response, case: Case) -> None:
    told = {name: value for name, value in answer.headers.items() if name != "content-length"}
    assert (answer.status_code, told) == (case.status, dict(case.headers)), case.name
    if case.code is None:
        assert answer.text == INVALID, case.name
        return
    members = problem(answer)
    assert members["code"] == case.code, case.name
    assert members["request_id"] == answer.request.headers["x-request-id"], case.name
    assert [(error["field"], error["rule"]) for error in members.get("errors", ())] == list(case.errors), case.name


def account_text(sub: str, **members: str) -> str:
    """The account of Carol, as it is written in a response."""
    said = {
        "display_name": '"carol"',
        "email": "null",
        "verified": "false",
        "roles": '["customer"]',
        "status": '"active"',
        **members,
    }
    return (
        f'{{"sub":"{sub}","username":"carol","display_name":{said["display_name"]},"email":{said["email"]},'
        f'"email_verified":{said["verified"]},'
        f'"roles":{said["roles"]},"status":{said["status"]},"password_changed_at":"2030-03-17T17:46:40Z"}}'
    )


async def set_columns(app: FastAPI, sub: str, **values: object) -> None:
    async with database_of(app).write_session() as session:
        account = await session.get(Account, sub_of(sub))
        for name, value in values.items():
            setattr(account, name, value)


def sub_of(sub: str) -> Any:  # noqa: ANN401 - a key of the table
    return Account.__table__.c.id.type.python_type(sub)


async def test_credentials_that_are_not_right_get_their_response(users: Peer) -> None:
    await registered(users)
    for case in VERIFY_CASES:
        assert_told(await users.call("POST", VERIFY, raw=case.raw, headers=dict(case.sent)), case)


async def test_the_right_password_gets_the_account_to_the_letter(users: Peer) -> None:
    sub = (await registered(users))["id"]
    for raw in (RIGHT, b' {"password":"a-long-enough-one",\n"username":" \xef\xbd\x83AROL"} '):
        answer = await users.call("POST", VERIFY, raw=raw)
        assert answer.text == f'{{"valid":true,"account":{account_text(sub)}}}'
        assert {**answer.headers, "content-length": ""} == {**JSON, "content-length": ""}
        assert answer.headers["content-length"] == str(len(answer.content))


async def test_an_account_is_told_to_the_letter(users: Peer, users_app: FastAPI) -> None:
    sub = (await registered(users))["id"]
    answer = await users.call("GET", ACCOUNTS + sub)
    assert (answer.status_code, answer.text) == (200, account_text(sub))
    assert {**answer.headers, "content-length": ""} == {**JSON, "content-length": ""}
    name = '<Zo\u00eb "\u6f22\u5b57" \\ \U0001f600 \u2028/>'
    await set_columns(users_app, sub, display_name=name, email="z@example.org", roles=["admin", "r\u00f6le"])
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    expected = account_text(sub, display_name=f'"{escaped}"', email='"z@example.org"', roles='["admin","r\u00f6le"]')
    assert (await users.call("GET", ACCOUNTS + sub)).text == expected


async def test_a_time_of_a_password_is_told_to_the_microsecond(users: Peer, clock: Clock) -> None:
    clock.now += 0.25
    sub = (await registered(users))["id"]
    account = (await users.call("GET", ACCOUNTS + sub)).json()
    assert account["password_changed_at"] == "2030-03-17T17:46:40.250000Z"


async def test_a_blocked_account_is_told_as_blocked_and_its_password_as_wrong(users: Peer, users_app: FastAPI) -> None:
    """R-120."""
    sub = (await registered(users))["id"]
    await set_columns(users_app, sub, status="blocked")
    assert (await users.call("GET", ACCOUNTS + sub)).text == account_text(sub, status='"blocked"')
    assert (await users.call("POST", VERIFY, raw=RIGHT)).text == INVALID


@pytest.mark.parametrize(
    "spelling",
    [
        ABSENT,
        "carol",
        "lookup",
        "{0}",
        "urn:uuid:{0}",
        "%7B{0}%7D",
        "{0}%0A",
        "%20{0}",
        "{0}%00",
        "%FF%FE",
        "%ED%A0%80",
        "x" * 3000,
        "{1}",
        "{2}",
    ],
)
async def test_a_sub_has_one_spelling_and_every_other_is_no_account(users: Peer, spelling: str) -> None:
    sub = (await registered(users))["id"]
    path = ACCOUNTS + spelling.format(sub, sub.upper(), sub.replace("-", ""))
    answer = await users.call("GET", path)
    if path == ACCOUNTS + sub:
        assert answer.text == account_text(sub)
        return
    assert_told(answer, Case("", b"", 404, "not_found"))


@pytest.mark.parametrize("sub", [f"{ABSENT}/", f"{ABSENT}/x", f"{ABSENT}%2Fx", "", "%2F"])
async def test_a_path_of_more_segments_is_nothing(users: Peer, sub: str) -> None:
    assert_told(await users.call("GET", ACCOUNTS + sub), Case("", b"", 404, "not_found"))


async def test_query_and_body_of_a_look_up_say_nothing_but_have_to_be_readable(users: Peer) -> None:
    sub = (await registered(users))["id"]
    for call in (
        await users.call("GET", ACCOUNTS + sub, query="sub=other&x=%00"),
        await users.call("GET", ACCOUNTS + sub, {"sub": "other"}),
    ):
        assert (call.status_code, call.text) == (200, account_text(sub))
    assert_told(await users.call("GET", ACCOUNTS + sub, raw=b"{"), Case("", b"", 400, "unreadable_body"))
    query = await users.call("POST", VERIFY, raw=RIGHT, query="username=mallory")
    assert query.json()["valid"] is True


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", VERIFY, "POST"),
        ("PUT", VERIFY, "POST"),
        ("OPTIONS", VERIFY, "POST"),
        ("BREW", VERIFY, "POST"),
        ("POST", ACCOUNTS + ABSENT, "GET, HEAD"),
        ("DELETE", ACCOUNTS + ABSENT, "GET, HEAD"),
        ("OPTIONS", ACCOUNTS + ABSENT, "GET, HEAD"),
    ],
)
async def test_another_method_is_refused_with_those_that_are_allowed(
    users: Peer, method: str, path: str, allow: str
) -> None:
    answer = await users.call(method, path)
    assert_told(answer, Case("", b"", 405, "method_not_allowed", headers={**PROBLEM, "allow": allow}))


async def test_head_tells_the_same_without_a_body(users: Peer) -> None:
    sub = (await registered(users))["id"]
    got, head = [await users.call(method, ACCOUNTS + sub) for method in ("GET", "HEAD")]
    assert (head.status_code, head.content, head.headers) == (200, b"", got.headers)
    missing = await users.call("HEAD", ACCOUNTS + ABSENT)
    assert (missing.status_code, missing.content) == (404, b"")
    assert (await users.call("HEAD", VERIFY)).status_code == 405


@pytest.mark.parametrize(("method", "path"), [("POST", VERIFY), ("GET", ACCOUNTS + ABSENT)])
async def test_only_the_gateway_is_told_and_only_with_its_signature(
    users: Peer, links: Links, clock: Clock, method: str, path: str
) -> None:
    raw = RIGHT if method == "POST" else b""
    sent = {"content-type": "application/json"} if raw else {}
    unsigned = await users.http.request(method, path, content=raw, headers={**sent, "x-request-id": "r"})
    assert (unsigned.status_code, problem(unsigned)["code"]) == (401, "signature_required")
    assert unsigned.headers["www-authenticate"] == "Signature"
    signed = {**sent, **users.signed(method, path, content=raw)}
    forged = {**signed, "signature": "lockgate=:" + "A" * 43 + "=:"}
    moved = {**sent, **users.signed(method, path + "x", content=raw)}
    for headers in (forged, moved, {**signed, "x-user-id": "admin"}, {**signed, "x_user_id": "admin"}):
        answer = await users.http.request(method, path, content=raw, headers=headers)
        assert (answer.status_code, problem(answer)["code"]) == (401, "signature_invalid")
    first = await users.http.request(method, path, content=raw, headers=signed)
    again = await users.http.request(method, path, content=raw, headers=signed)
    assert (first.status_code, again.status_code) == (200 if raw else 404, 401)
    other = await Peer(users.http, links, "orders", "users", clock).call(method, path, raw=raw)
    assert (other.status_code, problem(other)["code"]) == (403, "link_refused")


async def test_a_body_that_is_not_the_signed_one_is_refused(users: Peer) -> None:
    await registered(users)
    headers = {"content-type": "application/json", **users.signed("POST", VERIFY, content=RIGHT)}
    answer = await users.http.request("POST", VERIFY, content=RIGHT.replace(b"carol", b"alice"), headers=headers)
    assert (answer.status_code, problem(answer)["code"]) == (401, "signature_invalid")
    uncovered = {"content-type": "application/json", **users.signed("POST", VERIFY)}
    answer = await users.http.request("POST", VERIFY, content=RIGHT, headers=uncovered)
    assert (answer.status_code, problem(answer)["code"]) == (401, "signature_invalid")


async def test_whatever_user_a_look_up_speaks_for_it_is_the_gateways(users: Peer) -> None:
    sub = (await registered(users))["id"]
    for who in (Who("somebody", roles=frozenset({"admin"})), Who(sub)):
        assert (await users.call("GET", ACCOUNTS + sub, who=who)).text == account_text(sub)


async def test_each_call_has_one_log_line_that_names_its_route_and_no_account(users: Peer) -> None:
    sub = (await registered(users))["id"]
    with capture_logs() as logs:
        await users.call("GET", ACCOUNTS + sub)
        await users.call("HEAD", ACCOUNTS + ABSENT)
        await users.call("POST", VERIFY, raw=RIGHT)
        await users.call("POST", VERIFY, raw=b"{}")
    assert [(log["event"], log["method"], log["route"], log["status"], log["link"]) for log in logs] == [
        ("request", "GET", "/internal/accounts/{sub}", 200, "gateway"),
        ("request", "HEAD", "/internal/accounts/{sub}", 404, "gateway"),
        ("request", "POST", VERIFY, 200, "gateway"),
        ("request", "POST", VERIFY, 400, "gateway"),
    ]
    assert not any(secret in str(logs) for secret in (sub, "carol", CAROL["password"]))


async def rename_table(app: FastAPI, before: str, after: str) -> None:
    async with database_of(app).write_session() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")


async def test_without_its_table_both_calls_fail_as_the_engine_does(users: Peer, users_app: FastAPI) -> None:
    sub = (await registered(users))["id"]
    await rename_table(users_app, "accounts", "gone")
    answers = await users.call("GET", ACCOUNTS + sub), await users.call("POST", VERIFY, raw=RIGHT)
    await rename_table(users_app, "gone", "accounts")  # a server of all tests has it
    is_postgres = database_of(users_app).is_postgres
    for answer in answers:
        told = answer.status_code, problem(answer)["code"]
        assert told == ((500, "internal_error") if is_postgres else (503, "store_unavailable"))
    assert (await users.call("GET", ACCOUNTS + sub)).text == account_text(sub)
