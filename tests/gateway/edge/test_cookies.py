"""The gateway's own cookie is the gateway's alone: no service sees it, and none sets it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.edge.cookies import LOCALHOST_NAME, SECURE_NAME, sets_own_cookie, split_own_cookies
from lockgate.edge.headers import examine_fields
from lockgate.settings import LimitSettings
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.upstream import Upstream

NAME = SECURE_NAME


@pytest.mark.parametrize(
    ("value", "ours", "left"),
    [
        (b"a=1; b=2", [], b"a=1; b=2"),
        (b"", [], b""),
        (NAME + b"=x", [(NAME, b"x")], b""),
        (b"a=1; " + NAME + b"=x; b=2", [(NAME, b"x")], b"a=1; b=2"),
        (b"a=1;" + NAME + b"=x;b=2", [(NAME, b"x")], b"a=1;b=2"),
        (NAME + b"=x; a=1", [(NAME, b"x")], b"a=1"),
        (b"a=1;\t" + NAME + b" = x ", [(NAME, b"x")], b"a=1"),
        (NAME + b"=x; " + NAME + b"=y", [(NAME, b"x"), (NAME, b"y")], b""),
        (NAME + b"=x=y==", [(NAME, b"x=y==")], b""),
        (NAME, [(NAME, b"")], b""),
        (NAME + b"=x; " + LOCALHOST_NAME + b"=y", [(NAME, b"x"), (LOCALHOST_NAME, b"y")], b""),
        # Another spelling authenticates no request, but a careless service might read it as the gateway's cookie.
        (b"__HOST-LockGate=x; a=1", [(b"__HOST-LockGate", b"x")], b"a=1"),
        # Only names that are ours: not a part of one, and not a value.
        (b"x" + NAME + b"=1; " + NAME + b"2=2; c=" + NAME, [], b"x" + NAME + b"=1; " + NAME + b"2=2; c=" + NAME),
        (b"lockgate=1", [], b"lockgate=1"),
    ],
)
def test_our_cookies_are_taken_out_and_all_others_stay_as_they_are(
    value: bytes, ours: list[tuple[bytes, bytes]], left: bytes
) -> None:
    assert split_own_cookies(value) == (ours, left)


@given(st.lists(st.sampled_from([b"a=1", b"b", b"", b" c=3", NAME + b"=x", b" " + LOCALHOST_NAME, b"=", b"\t"])))
def test_whatever_is_left_holds_none_of_ours(pairs: list[bytes]) -> None:
    ours, left = split_own_cookies(b";".join(pairs))
    assert split_own_cookies(left) == ([], left)
    assert len(ours) == sum(b"lockgate" in pair for pair in pairs)


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        (NAME + b"=x; Path=/", True),
        (NAME.lower() + b"=x", True),
        (NAME.upper() + b" =x", True),
        (LOCALHOST_NAME + b"=", True),
        (NAME, True),
        (NAME + b"; Path=/", True),
        # A cookie without a name is sent back as its value alone.
        (b"=" + NAME + b"=x", True),
        (b" = " + NAME + b"=x", True),
        (b"a=" + NAME + b"=x", False),
        (b"session=x; Path=/" + NAME, False),
        (NAME + b"2=x", False),
        (b"", False),
    ],
)
def test_a_service_that_sets_our_cookie_is_noticed_in_every_spelling(value: bytes, ours: bool) -> None:  # noqa: FBT001 - a table's column
    assert sets_own_cookie(value) is ours


def test_several_cookie_fields_are_read_as_one() -> None:
    block = b"Host: a\r\nCookie: a=1; %b=x\r\ncookie: %b=y\r\nCookie: b=2\r\n" % (NAME, NAME)
    facts, _ = examine_fields(block, LimitSettings())
    assert facts.session_cookies == ((NAME, b"x"), (NAME, b"y"))
    assert facts.forwardable == "cookie: a=1\r\ncookie: b=2\r\n"


@pytest.mark.parametrize(
    ("fields", "origin"), [(b"", None), (b"Origin: https://a\r\n", b"https://a"), (b"Origin: a\r\nOrigin: a\r\n", b"")]
)
def test_an_origin_that_is_said_twice_is_nobodys(fields: bytes, origin: bytes | None) -> None:
    assert examine_fields(b"Host: a\r\n" + fields, LimitSettings())[0].origin == origin


@pytest.mark.parametrize("path", ["/open", "/maybe"])
async def test_no_service_sees_the_cookie_also_where_cookies_are_off(node: Node, upstream: Upstream, path: str) -> None:
    """R-43, on a public route as well."""
    answer = await node.get(path, "Cookie: a=1; __Host-lockgate=lgc_x; b=2\r\nCookie: lockgate-localhost=y\r\n")
    assert answer.status == 200
    (request,) = upstream.requests
    assert request.values("cookie") == ["a=1; b=2"]
    assert b"lgc_x" not in request.raw
    assert b"localhost" not in request.raw


async def test_no_service_can_set_the_cookie_or_speak_for_the_gateway_to_browsers(
    node: Node, upstream: Upstream
) -> None:
    """R-130 (a service that could set the cookie could log a user in as another one), R-182."""
    fields = (
        b"Set-Cookie: cart=1; Path=/\r\nSet-Cookie: __Host-lockgate=lgc_evil; Path=/; Secure\r\n"
        b"Set-Cookie: =__Host-lockgate=lgc_evil\r\nSet-Cookie: lockgate-localhost=; Max-Age=0\r\n"
        b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n"
    )
    upstream.play(upstreams.recorder(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok"))
    answer = await node.get("/open", "Origin: https://evil.example\r\n")
    assert answer.values("set-cookie") == ["cart=1; Path=/"]
    assert [name for name, _ in answer.fields if name.startswith("access-control")] == []
