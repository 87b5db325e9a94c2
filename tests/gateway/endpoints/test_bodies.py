"""R-103 to R-106, R-128, R-131: the accepted bodies of calls to the gateway itself, and that no body is echoed."""

from __future__ import annotations

import json

import pytest
from redis.asyncio import Redis

from tests.support.charsets import NOT_UTF_8, UTF_8
from tests.support.shop_rig import CREDENTIALS, FORM_TYPE, JSON_TYPE, PASSWORD, Caller, bearer, problem
from tests.support.upstream import Upstream

GOOD = json.dumps(CREDENTIALS).encode()

_UNREADABLE = {
    "nothing": b"",
    "half an object": GOOD[:-1],
    "two values": GOOD + GOOD,
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "invalid UTF-8": GOOD[:-2] + b'\xff"}',
    "a lone surrogate": b'{"username":"\\ud800","password":"x"}',
    "a lone surrogate in a name": b'{"\\udfff":"x"}',
    "a duplicate member": GOOD[:-1] + b',"username":"bob"}',
    "a duplicate member in another spelling": GOOD[:-1] + b',"\\u0075sername":"bob"}',
    "NaN": b'{"username":NaN,"password":"x"}',
    "Infinity": b'{"username":"a","password":Infinity}',
    "a number out of range": b'{"username":1e999,"password":"x"}',
    "a very long number": b'{"username":' + b"1" * 5000 + b',"password":"x"}',
    "deep nesting": b'{"username":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "single quotes": GOOD.replace(b'"', b"'"),
    "a form": b"username=alice&password=" + PASSWORD.encode(),
}


@pytest.mark.parametrize("oddity", _UNREADABLE)
async def test_a_body_that_two_readers_could_read_differently_is_400(
    caller: Caller, service: Upstream, redis: Redis, oddity: str
) -> None:
    """R-105, R-128: never 500, for any bytes; no password is checked, nothing is stored."""
    answer = await caller.post("/auth/login", _UNREADABLE[oddity])
    assert problem(answer, 400, "unreadable_body")["error"] == "invalid_request"
    assert service.requests == []
    assert await redis.keys("*session*") == []


@pytest.mark.parametrize(
    "content",
    [
        [],
        "alice",
        None,
        1,
        {},
        {"username": "alice"},
        {"password": PASSWORD},
        {**CREDENTIALS, "role": "admin"},
        {**CREDENTIALS, "Username": "alice"},
        {"username": 1, "password": PASSWORD},
        {"username": "alice", "password": None},
        {"username": "alice", "password": [PASSWORD]},
        {"username": "alice", "password": {"$ne": ""}},
        {"username": True, "password": PASSWORD},
        {"username": "", "password": PASSWORD},
        {"username": "alice", "password": ""},
        {"username": "a" * 257, "password": PASSWORD},
        {"username": "alice", "password": "p" * 1025},
    ],
    ids=lambda content: json.dumps(content)[:60],
)
async def test_fields_that_are_missing_unknown_or_of_another_type_are_400(
    caller: Caller, service: Upstream, content: object
) -> None:
    """R-121, R-128: a password beyond the cap is refused before any lookup."""
    answer = await caller.json("/auth/login", content)
    assert problem(answer, 400, "invalid_fields")["error"] == "invalid_request"
    assert service.requests == []


@pytest.mark.parametrize(
    "content",
    [
        {"username": "xkcd-936", "password": "hunter2-hunter2", "otp ": "x"},
        {"username": "xkcd-936", "password": "hunter2-hunter2"},
        {"username": "xkcd-936\u0000\r\nX: y", "password": "hunter2-hunter2"},
        {"username": "<script>xkcd-936", "password": "hunter2-hunter2", "hunter2": 1},
    ],
)
async def test_nothing_that_was_sent_comes_back(caller: Caller, content: dict[str, object]) -> None:
    """R-128"""
    answer = await caller.json("/auth/login?hint=hunter2", content, fields="X-Odd: hunter2\r\n")
    assert answer.status == 400
    assert b"hunter2" not in answer.raw
    assert b"xkcd-936" not in answer.raw


@pytest.mark.parametrize(
    "media",
    [
        None,
        "",
        "text/plain",
        "application/jsonp",
        "text/json",
        "multipart/form-data; boundary=x",
        "application/*",
        "*/*",
    ],
)
@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/revoke"])
async def test_another_media_type_is_415(caller: Caller, service: Upstream, path: str, media: str | None) -> None:
    """R-105, R-181: what a page of another site could send without being asked is none of them."""
    answer = await caller.post(path, GOOD, media=media)
    problem(answer, 415, "unsupported_media_type")
    assert JSON_TYPE in answer.value("accept")
    assert service.requests == []


async def test_a_login_takes_no_form(caller: Caller) -> None:
    """R-181: a form needs no permission of ours to be sent by another site's page."""
    problem(await caller.form("/auth/login", CREDENTIALS), 415, "unsupported_media_type")


async def test_two_media_types_are_400(caller: Caller) -> None:
    answer = await caller.post("/auth/login", GOOD, fields="Content-Type: text/plain\r\n")
    assert (answer.status, answer.code) == (400, "malformed_header")


@pytest.mark.parametrize("parameters", UTF_8[::4])
@pytest.mark.parametrize("kind", ["application/json", "APPLICATION/JSON"])
async def test_a_media_type_may_have_parameters_and_any_case(caller: Caller, kind: str, parameters: str) -> None:
    assert (await caller.post("/auth/login", GOOD, media=f"{kind}{parameters}")).status == 200


@pytest.mark.parametrize("parameters", UTF_8[::4])
async def test_a_form_may_name_the_charset_that_it_has(caller: Caller, parameters: str) -> None:
    """R-206: jQuery, axios and others name it."""
    assert (await caller.post("/auth/revoke", b"token=x", media=f"{FORM_TYPE}{parameters}")).status == 200


@pytest.mark.parametrize("parameters", NOT_UTF_8[::6])
@pytest.mark.parametrize(
    ("path", "kind", "body"), [("/auth/login", JSON_TYPE, GOOD), ("/auth/revoke", FORM_TYPE, b"token=x")]
)
async def test_another_charset_is_415(  # noqa: PLR0913 - one for each part of a request
    caller: Caller, service: Upstream, path: str, kind: str, body: bytes, *, parameters: str
) -> None:
    """R-228: bytes that another reader would take for another text (UTF-7, UTF-16, Latin-1)."""
    answer = await caller.post(path, body, media=f"{kind}{parameters}")
    assert problem(answer, 415, "unsupported_media_type")["detail"] == "The charset of a body is UTF-8"
    assert service.requests == []


async def test_an_unsupported_media_type_names_the_accepted_ones(caller: Caller) -> None:
    """RFC 9110 section 15.5.16"""
    login = await caller.post("/auth/login", GOOD, media="text/plain")
    assert (login.json["accepted"], login.value("accept")) == ([JSON_TYPE], JSON_TYPE)
    refresh = await caller.post("/auth/refresh", GOOD, media="text/plain")
    assert refresh.json["accepted"] == [JSON_TYPE, FORM_TYPE]
    coded = await caller.post("/auth/login", GOOD, fields="Content-Encoding: gzip\r\n")
    assert coded.value("accept-encoding") == "identity"


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        ({"username": 1}, [("body.username", "string_type"), ("body.password", "missing")]),
        (
            {**CREDENTIALS, "captcha": {"id": ""}},
            [("body.captcha.id", "string_too_short"), ("body.captcha.answer", "missing")],
        ),
        ({**CREDENTIALS, "hunter2": 1, "hunter3": 2}, [("body", "extra_forbidden")]),
        ([], [("body", "dict_type")]),
    ],
)
async def test_faulty_fields_are_named_if_they_are_ours(
    caller: Caller, content: object, errors: list[tuple[str, str]]
) -> None:
    """R-128: by place and rule, as the services do; no name and no value that the client chose."""
    answer = await caller.json("/auth/login", content)
    told = problem(answer, 400, "invalid_fields")["errors"]
    assert [(error["field"], error["rule"]) for error in told] == errors


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"token=a&token=b", [("body.token", "repeated")]),
        (b"hunter2=a&hunter2=b&token=x", [("body", "repeated")]),
        (b"token=", [("body.token", "missing")]),
    ],
)
async def test_faulty_fields_of_a_form_are_named_if_they_are_ours(
    caller: Caller, body: bytes, errors: list[tuple[str, str]]
) -> None:
    """R-128"""
    told = problem(await caller.post("/auth/revoke", body, media=FORM_TYPE), 400, "invalid_fields")["errors"]
    assert [(error["field"], error["rule"]) for error in told] == errors


@pytest.mark.parametrize(
    ("content", "known"),
    [
        ({**CREDENTIALS, "hunter2": 1}, {"body": ["username", "password", "captcha", "mode"]}),
        ({**CREDENTIALS, "captcha": {"id": "x", "answer": "1", "hunter2": 1}}, {"body.captcha": ["id", "answer"]}),
    ],
)
async def test_beside_an_unknown_member_the_known_ones_are_told(
    caller: Caller, content: object, known: dict[str, list[str]]
) -> None:
    """R-227: a client compares them with its own, and nothing that it sent is repeated."""
    answer = await caller.json("/auth/login", content)
    errors = problem(answer, 400, "invalid_fields")["errors"]
    assert {error["field"]: error["known"] for error in errors} == known
    assert b"hunter2" not in answer.raw


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (GOOD[:-1], {"rule": "json_invalid", "position": len(GOOD) - 1}),
        (GOOD + b"x", {"rule": "json_invalid", "position": len(GOOD)}),
        (GOOD[:-2] + b'\xff"}', {"rule": "not_utf8", "position": len(GOOD) - 2}),
        (GOOD[:-1] + b',"username":"bob"}', {"rule": "repeated"}),
        (GOOD[:-1] + b',"a":"\\u0000"}', {"rule": "nul"}),
    ],
)
async def test_why_a_body_cannot_be_read_is_told_with_the_place(
    caller: Caller, body: bytes, told: dict[str, object]
) -> None:
    """R-128: in words of ours, and by a number of bytes."""
    answer = await caller.post("/auth/login", body)
    assert problem(answer, 400, "unreadable_body")["errors"] == [{"field": "body", **told}]


async def test_a_form_that_cannot_be_read_is_told_as_one(caller: Caller) -> None:
    answer = await caller.post("/auth/revoke", b"token=%ff", media=FORM_TYPE)
    assert problem(answer, 400, "unreadable_body")["errors"] == [{"field": "body", "rule": "form_invalid"}]


@pytest.mark.parametrize("body", [GOOD[:-1], b"\xff", b"[]", b'{"a":"\\u0000"}'])
async def test_a_call_of_the_framework_tells_the_same_of_a_body(caller: Caller, body: bytes) -> None:
    """R-234: whether the edge answers a call, or FastAPI does."""
    by_edge = await caller.post("/auth/login", body)
    by_framework = await caller.post("/auth/password", body, fields=bearer(await caller.login()))
    assert (by_framework.status, by_framework.code) == (by_edge.status, by_edge.code)
    assert by_framework.json["errors"] == by_edge.json["errors"]


async def test_a_call_of_the_framework_tells_its_own_members(caller: Caller) -> None:
    """R-227."""
    token = bearer(await caller.login())
    content = {"current_password": "x", "new_password": "y", "hunter2": 1}
    answer = await caller.json("/auth/password", content, fields=token)
    assert problem(answer, 400, "invalid_fields")["errors"] == [
        {"field": "body", "rule": "extra_forbidden", "known": ["current_password", "new_password", "captcha"]}
    ]


async def test_a_body_of_thousands_of_faults_is_told_of_in_few_words(caller: Caller) -> None:
    answer = await caller.json("/auth/login", {f"x{number}": 1 for number in range(1200)})
    assert len(problem(answer, 400, "invalid_fields")["errors"]) == 3


@pytest.mark.parametrize("coding", ["gzip", "identity", "br", "deflate, gzip"])
async def test_a_content_coding_is_415(caller: Caller, service: Upstream, coding: str) -> None:
    """R-104"""
    answer = await caller.post("/auth/login", GOOD, fields=f"Content-Encoding: {coding}\r\n")
    problem(answer, 415, "unsupported_media_type")
    assert service.requests == []


async def test_a_body_beyond_the_limit_is_413(caller: Caller, service: Upstream) -> None:
    """R-103: by its declared length, and by what arrives."""
    problem(await caller.post("/auth/login", b" " * 16_385), 413, "body_too_large")
    client = await caller.node.connect()
    await client.send(
        b"POST /auth/login HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n4000\r\n" + b" " * 0x4000 + b"\r\n1\r\n \r\n0\r\n\r\n"
    )
    problem(await client.message(), 413, "body_too_large")
    client.close()
    assert service.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"token=a&token=b",
        b"token=a&token=a",
        b"token=a&tok%65n=b",
        b"token",
        b"token=%ff",
        b"token=%ed%a0%80",
        b"token=\xff",
        b"token=" + "é".encode(),
        b"&".join(b"f%d=1" % number for number in range(21)),
        b"",
        b"token=",
        b"Token=a",
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
async def test_a_form_has_each_of_its_fields_once(caller: Caller, body: bytes) -> None:
    """R-106, R-149: `token` is required (RFC 7009 section 2.1)."""
    answer = await caller.post("/auth/revoke", body, media=FORM_TYPE)
    assert answer.status == 400
    assert problem(answer, 400, answer.code)["error"] == "invalid_request"
    assert answer.code in ("invalid_fields", "unreadable_body")


@pytest.mark.parametrize("field", ["username", "password"])
async def test_a_nul_is_400_and_no_service_that_is_away(caller: Caller, service: Upstream, field: str) -> None:
    """Taken for a fault of the users service, it would be an attempt at a password that is not counted (R-123)."""
    answer = await caller.json("/auth/login", {**CREDENTIALS, field: "alice\0"})
    problem(answer, 400, "unreadable_body")
    assert service.requests == []


@pytest.mark.parametrize(("path", "field"), [("/auth/refresh", "refresh_token"), ("/auth/revoke", "token")])
async def test_a_nul_is_400_in_a_form_as_well(caller: Caller, service: Upstream, path: str, field: str) -> None:
    problem(await caller.form(path, {field: "x\0"}), 400, "unreadable_body")
    assert service.requests == []
