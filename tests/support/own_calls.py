"""Calls to the gateway itself, good and bad ones, and everything that can be seen of their outcome.

`own_calls.json` holds the outcomes that were recorded while FastAPI answered all of these calls. A call that is
answered without FastAPI has to show the same (R-234). With `RECORD_OWN_CALLS=1` in the environment the tests write the
file anew, and the difference shows in review.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from lockgate.stores.layout import AUDIT_STREAM
from tests.support.node import HOST
from tests.support.raw import Message
from tests.support.shop_rig import CREDENTIALS, FORM_TYPE, JSON_TYPE, PASSWORD

RECORDED: Final = Path(__file__).with_name("own_calls.json")
RECORDING: Final = "RECORD_OWN_CALLS" in os.environ
LISTED: Final = "https://app.example"
SECTIONS: Final[dict[str, Any]] = {
    "server": {"allowed_origins": [LISTED], "session_cookie": "localhost", "openapi": "everybody"},
}
"""Of the configuration of the node that is called."""

_JSON: Final = f"Content-Type: {JSON_TYPE}\r\n"
_FORM: Final = f"Content-Type: {FORM_TYPE}\r\n"
_BASIC: Final = "Authorization: Basic @basic@\r\n"
_COOKIE: Final = "Cookie: lockgate-localhost=@cookie@\r\n"
SHUT_OUT: Final = "shut out"
FROM_PAGE: Final = "Sec-Fetch-Site: same-origin\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """Requests that are sent one after the other, each on a connection of its own.

    Attributes:
        requests: each as bytes, with names in braces for what was given out before.
        sections: of the configuration, besides `SECTIONS`.
        account: what the users service says of alice at the time; `shut out`: an administrator has blocked alice since
            the users service was asked.
    """

    requests: tuple[bytes, ...]
    sections: Mapping[str, Any]
    account: str


def _post(  # noqa: PLR0913 - what makes a case
    path: str,
    body: str | bytes = b"",
    head: str = _JSON,
    *,
    times: int = 1,
    account: str = "active",
    sections: Mapping[str, Any] | None = None,
) -> Case:
    content = body.encode() if isinstance(body, str) else body
    request = f"POST {path} HTTP/1.1\r\n{HOST}{head}Content-Length: @length@\r\n\r\n".encode() + content
    return Case((request,) * times, sections or {}, account)


def _raw(text: str) -> Case:
    return Case((text.replace("\n", "\r\n").replace("@host@", HOST.rstrip()).encode(),), {}, "active")


_GUESS: Final = '{"username":"alice","password":"wrong"}'
_RIGHT: Final = json.dumps(CREDENTIALS, separators=(",", ":"))
_LIMIT_ONE: Final = {"login": {"refresh_limit": 1}}
_NO_GRACE: Final = {"token": {"refresh_grace_s": 0}}


def _json_bodies(path: str, name: str, value: str, more: str = "") -> dict[str, Case]:
    def with_value(text: str) -> str:
        return f'{{"{name}":{text}{more}}}'

    member = f'"{name}":"{value}"'
    good = with_value(f'"{value}"')
    bodies: dict[str, str | bytes] = {
        "good": good,
        "nothing": "",
        "half an object": good[:-1],
        "two values": good + good,
        "white space around": f" \r\n\t{good} \n",
        "a byte order mark": b"\xef\xbb\xbf" + good.encode(),
        "UTF-16": good.encode("utf-16"),
        "invalid UTF-8": good.encode()[:-2] + b',"a":"\xff"}',
        "a lone surrogate": good[:-1] + ',"a":"\\ud800"}',
        "a pair of surrogates": good[:-1] + ',"a":"\\ud83d\\ude00"}',
        "a NUL in a value": good[:-1] + ',"a":"\\u0000"}',
        "a NUL in a name": good[:-1] + ',"\\u0000":1}',
        "a NUL deep inside": good[:-1] + ',"a":[{"b":["\\u0000"]}]}',
        "a repeated member": good[:-1] + f",{member}}}",
        "a repeated member in another spelling": good[:-1] + f',"\\u00{ord(name[0]):02x}{name[1:]}":"x"}}',
        "a repeated unknown member": good[:-1] + ',"a":1,"a":1}',
        "an unknown member": good[:-1] + ',"a":1}',
        "an unknown deep member": good[:-1] + ',"a":' + "[" * 31 + "]" * 31 + "}",
        "too deep": good[:-1] + ',"a":' + "[" * 33 + "]" * 33 + "}",
        "far too deep": good[:-1] + ',"a":' + "[" * 5000 + "]" * 5000 + "}",
        "NaN": good[:-1] + ',"a":NaN}',
        "a number out of range": good[:-1] + ',"a":1e999}',
        "a very long number": good[:-1] + ',"a":' + "1" * 5000 + "}",
        "single quotes": good.replace('"', "'"),
        "a list": "[]",
        "a text": '"alice"',
        "null": "null",
        "an empty object": "{}",
        "another member only": '{"a":"b"}',
        "an empty value": with_value('""'),
        "null as its value": with_value("null"),
        "a number as its value": with_value("1"),
        "true as its value": with_value("true"),
        "a list as its value": with_value(f'["{value}"]'),
        "an object as its value": with_value('{"$ne":""}'),
        "a long value": with_value(f'"{"a" * 5000}"'),
        "a value beyond ASCII": with_value('"lgr_\u00e4"'),
        "a value of another kind": with_value('"x"'),
        "no token of ours": with_value('"lgr_AAAA"'),
        "two faults": with_value('1,"client_id":2'),
        "an empty client": good[:-1] + ',"client_id":""}',
        "a null client": good[:-1] + ',"client_id":null,"client_secret":null}',
        "a long client": good[:-1] + f',"client_id":"{"a" * 257}"}}',
        "the public client": good[:-1] + ',"client_id":"lockgate-login"}',
        "an unknown client": good[:-1] + ',"client_id":"nobody-knows"}',
        "a client without its secret": good[:-1] + ',"client_id":"reports"}',
        "a secret without its client": good[:-1] + ',"client_secret":"x"}',
        "a client and its secret": good[:-1] + ',"client_id":"reports","client_secret":"@secret@"}',
        "a client and another secret": good[:-1] + ',"client_id":"reports","client_secret":"x"}',
        "too large": good[:-1] + f',"a":"{"a" * 20_000}"}}',
    }
    return {f"JSON: {what}": _post(path, body) for what, body in bodies.items()}


def _form_bodies(path: str, name: str, value: str, more: str = "") -> dict[str, Case]:
    good = f"{name}={value}{more}"
    bodies: dict[str, str | bytes] = {
        "good": good,
        "nothing": "",
        "with plus and percent": f"a=+%20&{good}",
        "an escaped name": f"%{ord(name[0]):02x}{name[1:]}={value}{more}",
        "a repeated field": f"{good}&{name}={value}",
        "a field repeated without a value": f"{good}&{name}=",
        "a repeated unknown field": f"{good}&a=1&a=2",
        "an unknown field": f"{good}&a=1",
        "a field without a value": f"{more.lstrip('&') or 'a=1'}&{name}",
        "only separators": "&&&",
        "semicolons": f"a=1;{good}",
        "too many fields": good + "".join(f"&a{n}=" for n in range(20)),
        "as many fields as may be": good + "".join(f"&a{n}=" for n in range(18 - more.count("&"))),
        "bytes beyond ASCII": good.encode() + b"&a=\xc3\xa4",
        "escapes that are no UTF-8": f"{good}&a=%ff",
        "an escaped NUL": f"{good}&a=%00",
        "a broken escape": f"{good}&a=%zz",
        "a client and its secret": f"{good}&client_id=reports&client_secret=@secret@",
    }
    return {f"form: {what}": _post(path, body, _FORM) for what, body in bodies.items()}


def _media_types(path: str, body: str) -> dict[str, Case]:
    kinds = {
        "none": "",
        "empty": "Content-Type:\r\n",
        "text": "Content-Type: text/plain\r\n",
        "JSON": _JSON,
        "JSON in capitals": "Content-Type: APPLICATION/JSON\r\n",
        "JSON in UTF-8": f'Content-Type: {JSON_TYPE}; charset="UTF-8"\r\n',
        "JSON in Latin-1": f"Content-Type: {JSON_TYPE}; charset=iso-8859-1\r\n",
        "a form in UTF-8": f"Content-Type: {FORM_TYPE};charset=utf-8\r\n",
        "a form in UTF-16": f"Content-Type: {FORM_TYPE};charset=utf-16\r\n",
        "multipart": "Content-Type: multipart/form-data; boundary=x\r\n",
        "anything": "Content-Type: */*\r\n",
        "two": f"{_JSON}Content-Type: text/plain\r\n",
        "JSON, compressed": f"{_JSON}Content-Encoding: gzip\r\n",
        "a form, not compressed": f"{_FORM}Content-Encoding: identity\r\n",
    }
    return {f"media type: {what}": _post(path, body, head) for what, head in kinds.items()}


def _credentials(path: str, body: str, kind: str = _FORM) -> dict[str, Case]:
    def basic(text: str) -> str:
        return f"Authorization: Basic {base64.b64encode(text.encode()).decode()}\r\n"

    fields = {
        "a client's": _BASIC,
        "a client's, in capitals": _BASIC.replace("Basic", "BASIC"),
        "a client's, with another secret": basic("reports:wrong"),
        "a client's, unknown": basic("nobody-knows:x"),
        "a client's, escaped": basic("%72eports:wrong"),
        "a client's, without a colon": basic("reports"),
        "a client's, beyond ASCII": basic("r\u00e4ports:x"),
        "a client's, too long": basic("reports:" + "a" * 800),
        "not Base64": "Authorization: Basic !!!\r\n",
        "Base64 with a wrong length": "Authorization: Basic YWJjZGU\r\n",
        "a scheme alone": "Authorization: Basic\r\n",
        "two spaces": _BASIC.replace("Basic ", "Basic  "),
        "no scheme": "Authorization: abc\r\n",
        "nothing": "Authorization:\r\n",
        "another scheme": "Authorization: Digest x=y\r\n",
        "a token": "Authorization: Bearer @access@\r\n",
        "a malformed token": "Authorization: Bearer a.b\r\n",
        "two lines": _BASIC * 2,
        "two in a line": "Authorization: Basic @basic@, Bearer @access@\r\n",
    }
    found = {f"credentials: {what}": _post(path, body, kind + field) for what, field in fields.items()}
    if kind == _JSON:
        return found
    twice = f"{body}&client_id=reports&client_secret=@secret@"
    return {
        **found,
        "credentials: in head and body": _post(path, twice, _FORM + _BASIC),
        "credentials: in the head, and the name in the body": _post(path, f"{body}&client_id=reports", _FORM + _BASIC),
        "credentials: in the head, and another name": _post(path, f"{body}&client_id=lockgate-login", _FORM + _BASIC),
    }


def _heads(path: str, body: str, kind: str = _FORM) -> dict[str, Case]:
    field = kind.replace("\r\n", "\n")
    lines = f"@host@\n{field}Content-Length: @length@"
    posts = {
        "from a listed page": _post(path, body, f"{kind}Origin: {LISTED}\r\n"),
        "from a foreign page": _post(path, body, f"{kind}Origin: https://evil.example\r\n"),
        "from another site": _post(path, body, f"{kind}Sec-Fetch-Site: cross-site\r\n"),
        "with a query": _post(f"{path}?token=x&a", body, kind),
        "with an agent": _post(path, body, f"{kind}User-Agent: {'browser ' * 50}\r\n"),
        "with a request id": _post(path, body, f"{kind}X-Request-Id: abc\r\n"),
        "that closes": _post(path, body, f"{kind}Connection: close\r\n"),
        "a slash behind": _post(f"{path}/", body, kind),
        "a letter escaped": _post(f"/auth/%{ord(path[6]):x}{path[7:]}", body, kind),
        "in capitals": _post(path.upper(), body, kind),
        "an expectation, and a refusal": _post(path, body, "Expect: 100-continue\r\nContent-Type: text/plain\r\n"),
        "a used-up allowance": _post(path, body, kind, times=2, sections=_LIMIT_ONE),
        "a used-up allowance, and a bad body": _post(path, "", "", times=2, sections=_LIMIT_ONE),
        "HTTP/1.0": _raw(f"POST {path} HTTP/1.0\n{lines}\n\n{body}"),
        "HTTP/1.0, kept": _raw(f"POST {path} HTTP/1.0\n{lines}\nConnection: keep-alive\n\n{body}"),
        "too long by its length": _raw(f"POST {path} HTTP/1.1\n@host@\n{field}Content-Length: 20000\n\n"),
        "in chunks": _raw(
            f"POST {path} HTTP/1.1\n@host@\n{field}Transfer-Encoding: chunked\n\n{len(body):x}\n{body}\n0\n\n"
        ),
        "a preflight": _raw(
            f"OPTIONS {path} HTTP/1.1\n@host@\nOrigin: {LISTED}\nAccess-Control-Request-Method: POST\n\n"
        ),
        "a foreign preflight": _raw(
            f"OPTIONS {path} HTTP/1.1\n@host@\nOrigin: https://evil.example\nAccess-Control-Request-Method: POST\n\n"
        ),
    }
    posts |= {
        f"{method}, which it has not": _raw(f"{method} {path} HTTP/1.1\n@host@\n\n")
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW")
    }
    return {f"head: {what}": case for what, case in posts.items()}


def _renamed(what: str, cases: Mapping[str, Case]) -> dict[str, Case]:
    return {f"{what}, {name}": case for name, case in cases.items()}


def _log_in(**members: object) -> str:
    return json.dumps({**CREDENTIALS, **members})


def _in_a_row(*bodies: str, login: Mapping[str, int]) -> Case:
    requests = (_post("/auth/login", body).requests[0] for body in bodies)
    return Case(tuple(requests), {"login": login}, "active")


def _login_cookies() -> dict[str, Case]:
    path, foreign = "/auth/login", "Origin: https://evil.example\r\n"
    no_cookies = {"server": {**SECTIONS["server"], "session_cookie": "off"}}
    heads = {
        "from a page": FROM_PAGE,
        "from a listed page": f"Origin: {LISTED}\r\n",
        "from nowhere": "",
        "from a foreign page": foreign,
        "from another site": "Sec-Fetch-Site: cross-site\r\n",
        "beside another": _COOKIE + FROM_PAGE,
        "beside another, from nowhere": _COOKIE,
        "beside another, from a foreign page": _COOKIE + foreign,
        "beside a malformed one": f"Cookie: lockgate-localhost=lgc_x\r\n{FROM_PAGE}",
        "beside two": f"Cookie: lockgate-localhost=@cookie@; lockgate-localhost=@cookie@\r\n{FROM_PAGE}",
        "beside a token": f"{FROM_PAGE}Authorization: Bearer @access@\r\n",
        "of a client": FROM_PAGE + _BASIC,
    }
    found: dict[str, Case] = {}
    for mode in ("cookie", "token"):
        found |= {f"{mode}: {what}": _post(path, _log_in(mode=mode), _JSON + field) for what, field in heads.items()}
        wrong = _log_in(mode=mode, password="wrong")
        found[f"{mode}: beside another, wrong"] = _post(path, wrong, _JSON + _COOKIE + FROM_PAGE)
        found[f"{mode}: while cookies are off"] = _post(
            path, _log_in(mode=mode), _JSON + _COOKIE + FROM_PAGE, sections=no_cookies
        )
    values: dict[str, object] = {"unknown": "both", "null": None, "a number": 1, "a list": ["token"]}
    return found | {f"mode: {what}": _post(path, _log_in(mode=value)) for what, value in values.items()}


def _guesses() -> dict[str, Case]:
    one_account, one_address, one_at_all = {"account_attempts": 1}, {"address_attempts": 1}, {"all_attempts": 1}
    waits = {"address_attempts": 1, "address_limit": 1}
    solved = {"id": "@captcha@", "answer": "@digits@"}
    captchas: dict[str, object] = {
        "solved": solved,
        "with another answer": {**solved, "answer": "x"},
        "with no answer": {"id": "@captcha@"},
        "with an empty answer": {**solved, "answer": ""},
        "with a long answer": {**solved, "answer": "1" * 5000},
        "with a number for an answer": {**solved, "answer": 1},
        "with an answer in other digits": {**solved, "answer": "\u0661"},
        "unknown": {**solved, "id": "a" * 22},
        "with an empty id": {**solved, "id": ""},
        "with a short id": {**solved, "id": "a"},
        "with a member too many": {**solved, "a": 1},
        "null": None,
        "a text": "@digits@",
        "a list": [solved],
    }
    right = {f"captcha: {what}": _post("/auth/login", _log_in(captcha=value)) for what, value in captchas.items()}
    needed = {
        f"captcha needed: {what}": _in_a_row(_GUESS, _log_in(captcha=value), login=one_account)
        for what, value in captchas.items()
    }
    with_captcha = _log_in(captcha=solved)
    return {
        **right,
        **needed,
        "captcha: solved, twice": _in_a_row(_GUESS, with_captcha, with_captcha, login=one_account),
        "captcha: solved, for a guess": _in_a_row(
            _GUESS,
            _log_in(captcha=solved, password="wrong"),
            _RIGHT,
            login=one_account,
        ),
        "guess: once": _post("/auth/login", _GUESS),
        "guess: of a user that there is not": _post("/auth/login", _GUESS.replace("alice", "mallory")),
        "guess: with the right password of another": _post("/auth/login", _log_in(username="mallory")),
        "guess: too many at an account": _in_a_row(_GUESS, _GUESS, _RIGHT, login=one_account),
        "guess: too many at another account": _in_a_row(_GUESS.replace("alice", "bob"), _RIGHT, login=one_account),
        "guess: too many from an address": _in_a_row(_GUESS, _RIGHT, login=one_address),
        "guess: too many in all": _in_a_row(_GUESS, _RIGHT, login=one_at_all),
        "guess: too many, and wait": _in_a_row(_GUESS, _RIGHT, with_captcha, login=waits),
        "guess: after successes": _in_a_row(_RIGHT, _RIGHT, _GUESS, _RIGHT, login=one_account),
        "guess: in a body that is refused": _in_a_row('{"username":"alice"}', _RIGHT, login=one_account),
    }


def _logins() -> dict[str, Case]:
    path = "/auth/login"
    member = {name: f',"{name}":"{value}"' for name, value in CREDENTIALS.items()}
    return {
        **_json_bodies(path, "username", "alice", member["password"]),
        **_renamed("password", _json_bodies(path, "password", PASSWORD, member["username"])),
        **_form_bodies(path, "username", "alice", f"&password={PASSWORD}"),
        **_media_types(path, _RIGHT),
        **_credentials(path, _RIGHT, _JSON),
        **_renamed("wrong password", _credentials(path, _GUESS, _JSON)),
        **_heads(path, _RIGHT, _JSON),
        **_renamed("wrong password", _heads(path, _GUESS, _JSON)),
        **_login_cookies(),
        **_guesses(),
        "account: blocked": _post(path, _RIGHT, account="blocked"),
        "account: blocked meanwhile": _post(path, _RIGHT, account=SHUT_OUT),
        "account: away": _post(path, _RIGHT, account="away"),
        "account: away, twice": _post(
            path, _RIGHT, account="away", times=2, sections={"login": {"account_attempts": 1}}
        ),
        "account: another password": _post(path, _RIGHT, account="another password"),
        "account: with as many sessions as may be": _post(
            path, _RIGHT, times=2, sections={"token": {"sessions_per_user": 1}}
        ),
    }


def _refreshes() -> dict[str, Case]:
    path, form = "/auth/refresh", "refresh_token=@refresh@"
    cookie = {
        "from a page": _COOKIE + FROM_PAGE,
        "from a listed page": f"{_COOKIE}Origin: {LISTED}\r\n",
        "from nowhere": _COOKIE,
        "from a foreign page": f"{_COOKIE}Origin: https://evil.example\r\n",
        "malformed": f"Cookie: lockgate-localhost=lgc_x\r\n{FROM_PAGE}",
        "two": "Cookie: lockgate-localhost=@cookie@; lockgate-localhost=@cookie@\r\n",
        "with a token": f"{_COOKIE}{FROM_PAGE}Authorization: Bearer @access@\r\n",
        "with a malformed token": f"{_COOKIE}{FROM_PAGE}Authorization: Bearer a\r\n",
    }
    return {
        **_json_bodies(path, "refresh_token", "@refresh@"),
        **_form_bodies(path, "refresh_token", "@refresh@"),
        **_media_types(path, form),
        **_credentials(path, form),
        **_heads(path, "refresh_token=x"),
        **{f"cookie: {what}": _post(path, b"", head) for what, head in cookie.items()},
        "cookie: with a body": _post(path, "{}", _JSON + _COOKIE + FROM_PAGE),
        "grant: repeated": _post(path, form, _FORM, times=3),
        "grant: reused": _post(path, form, _FORM, times=2, sections=_NO_GRACE),
        "grant: crowded": _post(path, form, _FORM, times=22),
        "grant: of another client": _post(path, "refresh_token=@theirs@", _FORM),
        "grant: of its client": _post(path, "refresh_token=@theirs@", _FORM + _BASIC),
        "grant: of a session that has ended": _post(path, "refresh_token=@ended@", _FORM),
        "grant: narrowed": _post(path, f"{form}&scope=orders:read", _FORM),
        "grant: narrowed and wanted wider": Case(
            (
                *_post(path, f"{form}&scope=orders:read", _FORM).requests,
                *_post(path, f"{form}&scope=orders:write", _FORM).requests,
            ),
            {},
            "active",
        ),
        "grant: widened": _post(path, f"{form}&scope=products:write", _FORM),
        "grant: a long scope": _post(path, f"{form}&scope={'a' * 1025}", _FORM),
        "grant: its own type": _post(path, f"{form}&grant_type=refresh_token", _FORM),
        "grant: another type": _post(path, f"{form}&grant_type=password", _FORM),
        "account: blocked": _post(path, form, _FORM, account="blocked"),
        "account: away": _post(path, form, _FORM, account="away"),
        "account: another password": _post(path, form, _FORM, account="another password"),
    }


def _tokens() -> dict[str, Case]:
    path, form = "/auth/token", "grant_type=refresh_token&refresh_token=@refresh@"
    own = "grant_type=client_credentials"
    return {
        **_form_bodies(path, "refresh_token", "@refresh@", "&grant_type=refresh_token"),
        **_renamed("type", _form_bodies(path, "grant_type", "refresh_token", "&refresh_token=@refresh@")),
        **_media_types(path, form),
        **_credentials(path, form),
        **_renamed("own", _credentials(path, own)),
        **_heads(path, "grant_type=refresh_token&refresh_token=x"),
        "grant: repeated": _post(path, form, _FORM, times=2),
        "grant: reused": _post(path, form, _FORM, times=2, sections=_NO_GRACE),
        "grant: of its client": _post(path, form.replace("@refresh@", "@theirs@"), _FORM + _BASIC),
        "grant: unknown": _post(path, "grant_type=password&username=a&password=b", _FORM),
        "grant: long": _post(path, f"grant_type={'a' * 257}", _FORM),
        "grant: none": _post(path, "a=b", _FORM),
        "grant: without its token": _post(path, "grant_type=refresh_token", _FORM),
        "grant: with an empty token": _post(path, "grant_type=refresh_token&refresh_token=", _FORM),
        "grant: with a long token": _post(path, f"grant_type=refresh_token&refresh_token={'a' * 4097}", _FORM),
        "grant: own": _post(path, own, _FORM + _BASIC),
        "grant: own, in JSON": _post(path, json.dumps({"grant_type": "client_credentials"}), _JSON),
        "grant: own, narrowed": _post(path, f"{own}&scope=orders:read", _FORM + _BASIC),
        "grant: own, widened": _post(path, f"{own}&scope=products:write", _FORM + _BASIC),
        "grant: own, of the public client": _post(path, f"{own}&client_id=lockgate-login", _FORM),
        "grant: own, with a used-up allowance": _post(path, own, _FORM + _BASIC, times=2, sections=_LIMIT_ONE),
        "account: blocked": _post(path, form, _FORM, account="blocked"),
        "account: away": _post(path, form, _FORM, account="away"),
    }


def _revocations() -> dict[str, Case]:
    path, form = "/auth/revoke", "token=@refresh@"
    return {
        **_json_bodies(path, "token", "@refresh@"),
        **_form_bodies(path, "token", "@refresh@"),
        **_media_types(path, form),
        **_credentials(path, form),
        **_heads(path, "token=x"),
        "token: of a session, twice": _post(path, form, _FORM, times=2),
        "token: for access": _post(path, "token=@access@", _FORM),
        "token: for access, twice": _post(path, "token=@access@", _FORM, times=2),
        "token: for access, of another client": _post(path, "token=@access@", _FORM + _BASIC),
        "token: for access, malformed": _post(path, "token=a.b.c", _FORM),
        "token: of another client": _post(path, "token=@theirs@", _FORM),
        "token: of its client": _post(path, "token=@theirs@", _FORM + _BASIC),
        "token: of a session that has ended": _post(path, "token=@ended@", _FORM),
        "token: with a hint": _post(path, f"{form}&token_type_hint=access_token", _FORM),
        "token: with a hint that is no text": _post(path, '{"token":"x","token_type_hint":1}'),
    }


def _probes() -> dict[str, Case]:
    get = "GET /healthz HTTP/1.1\n@host@\n"
    return {
        "GET": _raw(f"{get}\n"),
        "HEAD": _raw("HEAD /healthz HTTP/1.1\n@host@\n\n"),
        "OPTIONS": _raw("OPTIONS /healthz HTTP/1.1\n@host@\n\n"),
        "POST": _post("/healthz", "x"),
        "DELETE": _raw("DELETE /healthz HTTP/1.1\n@host@\n\n"),
        "BREW": _raw("BREW /healthz HTTP/1.1\n@host@\n\n"),
        "HTTP/1.0": _raw("GET /healthz HTTP/1.0\n\n"),
        "HTTP/1.0, kept": _raw("GET /healthz HTTP/1.0\n@host@\nConnection: keep-alive\n\n"),
        "that closes": _raw(f"{get}Connection: close\n\n"),
        "with a query": _raw("GET /healthz?a=b HTTP/1.1\n@host@\n\n"),
        "with a body": _raw(f"{get}Content-Length: 2\n\nhi"),
        "with a large body": _raw(f"{get}Content-Length: 20000\n\n"),
        "with a body that is not sent": _raw(f"{get}Content-Length: 2\nExpect: 100-continue\n\n"),
        "with a malformed token": _raw(f"{get}Authorization: Bearer a\n\n"),
        "with a request id": _raw(f"{get}X-Request-Id: abc\n\n"),
        "a slash behind": _raw("GET /healthz/ HTTP/1.1\n@host@\n\n"),
        "from a listed page": _raw(f"{get}Origin: {LISTED}\n\n"),
        "from a foreign page": _raw(f"{get}Origin: https://evil.example\n\n"),
        "a preflight": _raw(
            f"OPTIONS /healthz HTTP/1.1\n@host@\nOrigin: {LISTED}\nAccess-Control-Request-Method: GET\n\n"
        ),
    }


CASES: Final[Mapping[str, Case]] = {
    f"{path} {what}": case
    for path, cases in {
        "/healthz": _probes(),
        "/auth/login": _logins(),
        "/auth/refresh": _refreshes(),
        "/auth/token": _tokens(),
        "/auth/revoke": _revocations(),
    }.items()
    for what, case in cases.items()
}


GOOD: Final[Mapping[str, tuple[bytes, ...]]] = {
    "/healthz": _probes()["GET"].requests,
    "/auth/login": _logins()["JSON: good"].requests,
    "/auth/refresh": _refreshes()["form: good"].requests,
    "/auth/token": _tokens()["form: good"].requests,
    "/auth/revoke": _revocations()["form: good"].requests,
}
"""A request to each call that is served."""


def fill(request: bytes, given: Mapping[str, str]) -> bytes:
    """A request with what was given out in it, and its length."""
    head, _, body = request.partition(b"\r\n\r\n")
    filled = _fill(body, given)
    return _fill(head, {**given, "length": str(len(filled))}) + b"\r\n\r\n" + filled


def _fill(text: bytes, given: Mapping[str, str]) -> bytes:
    for name, value in given.items():
        text = text.replace(b"@%b@" % name.encode(), value.encode())
    return text


# --- what can be seen ------------------------------------------------------------------------------------------------

_HIDDEN: Final = (
    (re.compile(r"lgr_[\w-]{40,}"), "<refresh token>"),
    (re.compile(r"lgc_[\w-]{40,}"), "<cookie>"),
    (re.compile(r"eyJ[\w.-]+"), "<access token>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\b\d{13}\b"), "<time>"),
    (re.compile(r"127\.0\.0\.1"), "<address>"),
    (re.compile(r"(?<=:attempt:)[0-9a-f]{16}\b|(?<=lg:captcha:)[\w-]+"), "<id>"),
    (re.compile(r"(?<=Max-Age=)[1-9]\d*"), "<seconds>"),
    (re.compile(r'(?<="jti": ")[\w-]+|(?<=:jti:)[\w-]+'), "<id>"),
    (re.compile(r'(?<="refresh_expires_in":)\d+'), '"<seconds>"'),
)
_NOT_LOGGED: Final = frozenset({"time", "ms", "own_id", "request_id", "client", "method", "path"})
_NOT_COMPARED: Final = frozenset({"date", "content-length", "retry-after", "ratelimit-reset"})
"""The last two are there or not; how many seconds they say depends on how fast the machine is."""


def hide(text: str) -> str:
    """A text without what is different in each run."""
    for pattern, word in _HIDDEN:
        text = pattern.sub(word, text)
    return text


def shown(answer: Message) -> dict[str, Any]:
    """What a response shows."""
    fields = sorted([name, _show_value(name, value)] for name, value in answer.fields)
    return {"line": answer.line, "fields": fields, "body": hide(answer.body.decode())}


def _show_value(name: str, value: str) -> str:
    if name == "allow":
        return ", ".join(sorted(value.split(", ")))
    return "" if name in _NOT_COMPARED else hide(value)


async def stored(redis: Redis) -> dict[str, Any]:
    """What Redis holds, but for the audit trail."""
    found: dict[str, Any] = {}
    for key in sorted([key.decode() async for key in redis.scan_iter()]):
        if key != AUDIT_STREAM:
            found.setdefault(hide(key), []).append(await _value(redis, key))
    return {key: sorted(values, key=json.dumps) for key, values in found.items()}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """By key, the values that went away and those that came."""
    found = {}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, []), after.get(key, [])
        if old != new:
            found[key] = [[one for one in old if one not in new], [one for one in new if one not in old]]
    return found


async def _value(redis: Redis, key: str) -> Any:  # noqa: ANN401 - any JSON value
    told: Any = await redis.type(key)
    kind = told.decode()
    lives = "for a while" if await redis.pttl(key) > 0 else "for ever"
    if kind == "hash":
        fields: dict[Any, Any] = await redis.hgetall(key)
        pairs = {name.decode(): hide(value.decode()) for name, value in fields.items()}
        return [lives, dict(sorted(pairs.items())) if "level" not in pairs else sorted(pairs)]
    if kind == "zset":
        return [lives, await redis.zcard(key)]
    return [lives, kind]


async def kept(redis: Redis) -> list[dict[str, str]]:
    """The events of the audit trail, oldest first; their times and token ids are left out."""
    entries: Any = await redis.xrange(AUDIT_STREAM)
    left_out = (b"time", b"jti")
    return [
        {name.decode(): hide(value.decode()) for name, value in facts.items() if name not in left_out}
        for _, facts in entries
    ]


def logged(output: str) -> list[dict[str, Any]]:
    """The lines of audit and access log, in their order; of the access log only what the call decides."""
    lines = [json.loads(hide(line)) for line in output.splitlines() if line.startswith("{")]
    return [{name: value for name, value in line.items() if name not in _NOT_LOGGED} for line in lines]
