from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate_trust import Caller, Refused, cover, cover_token, token_headers
from lockgate_trust.caller import MAX_SECONDS, IdentityError, caller_from
from lockgate_trust.headers import REQUEST_ID
from tests.support.links import (
    ALICE,
    IDENTITY,
    ORDERS_TO_PRODUCTS,
    PRODUCTS_KEYS,
    REQUEST,
    TRACE,
    USERS_TO_ORDERS,
    Headers,
    accepted,
    refusal,
    signed,
    signed_whatever,
)


def test_every_identity_header_reaches_the_caller() -> None:
    assert accepted(signed().verified()).caller == Caller(
        request_id=REQUEST,
        service="gateway",
        user_id="alice",
        roles=frozenset({"customer", "reviewer"}),
        scopes=frozenset({"orders:read", "orders:write"}),
        session_id="s-1",
        token_id="t-1",
        auth_time=1_767_225_000,
        traceparent=TRACE,
    )


def test_a_request_without_a_user_is_anonymous() -> None:
    caller = accepted(signed(headers=((REQUEST_ID, REQUEST),)).verified()).caller
    assert caller.anonymous
    assert caller == Caller(request_id=REQUEST, service="gateway")


def test_a_user_without_roles_and_scopes_has_none() -> None:
    headers = token_headers(user_id="bob")
    assert headers == (("x-user-id", "bob"), ("x-user-roles", ""), ("x-user-scopes", ""))
    caller = accepted(signed(headers=((REQUEST_ID, REQUEST), *headers)).verified()).caller
    assert not caller.anonymous
    assert caller.roles == caller.scopes == frozenset()


def test_a_subject_in_any_script_arrives_as_it_was() -> None:
    headers = ((REQUEST_ID, REQUEST), *token_headers(user_id="Zoë, 100% 🔒", roles=frozenset({"shop keeper"})))
    caller = accepted(signed(headers=headers).verified()).caller
    assert caller.user_id == "Zoë, 100% 🔒"
    assert caller.roles == {"shop keeper"}


def test_the_caller_of_a_service_call_tells_the_service_and_the_user_behind_it() -> None:
    outer = accepted(signed().verified()).caller
    inner = signed(key=ORDERS_TO_PRODUCTS, path="/internal/stock", headers=outer.forwarded_by("orders"))
    caller = accepted(inner.verified(PRODUCTS_KEYS)).caller
    assert (caller.service, caller.on_behalf, caller.user_id) == ("orders", "orders", "alice")
    assert (caller.request_id, caller.traceparent) == (outer.request_id, outer.traceparent)
    assert (caller.roles, caller.scopes, caller.session_id) == (outer.roles, outer.scopes, outer.session_id)


def test_an_anonymous_request_is_passed_on_as_anonymous() -> None:
    outer = accepted(signed(headers=((REQUEST_ID, REQUEST),)).verified()).caller
    assert outer.forwarded_by("orders") == ((REQUEST_ID, REQUEST), ("x-caller", "orders"))


def test_a_service_cannot_speak_in_the_name_of_another() -> None:
    claim = signed_whatever((("x-caller", "users"), *ALICE))
    assert refusal(claim.verified()) is Refused.BAD_IDENTITY
    with pytest.raises(ValueError, match="x-caller names another service than users"):
        signed(key=USERS_TO_ORDERS, headers=((REQUEST_ID, REQUEST), ("x-caller", "gateway")))


@pytest.mark.parametrize(
    "headers",
    [
        (("x-user-id", ""),),
        (("x-user-id", "%61lice"),),
        (("x-user-id", "alice bob"),),
        (("x-user-id", "alice"), ("x-user-roles", "a  b")),
        (("x-user-id", "alice"), ("x-user-scopes", "a,b")),
        (("x-user-id", "alice"), ("x-session-id", "")),
        (("x-user-id", "alice"), ("x-token-id", "%")),
        (("x-user-id", "alice"), ("x-auth-time", "")),
        (("x-user-id", "alice"), ("x-auth-time", "-1")),
        (("x-user-id", "alice"), ("x-auth-time", "1e9")),
        (("x-user-id", "alice"), ("x-auth-time", "007")),
        (("x-user-id", "alice"), ("x-auth-time", "1" * 16)),
        (("x-user-roles", "admin"),),
        (("x-user-scopes", "orders:write"),),
        (("x-session-id", "s-1"),),
        (("x-auth-time", "1"),),
    ],
)
def test_a_malformed_identity_is_refused_although_it_is_rightly_signed(headers: Headers) -> None:
    assert refusal(signed_whatever(headers).verified()) is Refused.BAD_IDENTITY


def test_a_request_id_that_is_no_single_visible_word_is_refused() -> None:
    for request_id in ("a b", "x" * 257):
        assert refusal(signed(headers=((REQUEST_ID, request_id),)).verified()) is Refused.BAD_IDENTITY


def test_identity_without_a_request_id_is_none() -> None:
    with pytest.raises(IdentityError, match="x-request-id"):
        caller_from({"x-user-id": "alice"}, "gateway")


def test_what_is_about_a_user_cannot_be_written_without_one() -> None:
    with pytest.raises(ValueError, match="without a user"):
        token_headers(user_id=None, roles=frozenset({"a"}))
    with pytest.raises(ValueError, match="without a user"):
        token_headers(user_id=None, scopes=frozenset({"a"}))
    with pytest.raises(ValueError, match="without a user"):
        token_headers(user_id=None, session_id="s-1")
    with pytest.raises(ValueError, match="without a user"):
        token_headers(user_id=None, auth_time=0)


def test_an_empty_or_impossible_value_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="empty"):
        token_headers(user_id="")
    with pytest.raises(ValueError, match="auth_time"):
        token_headers(user_id="alice", auth_time=-1)


def test_the_headers_of_a_token_come_in_the_covered_order() -> None:
    assert [name for name, _ in IDENTITY] == [
        "x-request-id",
        "traceparent",
        "x-user-id",
        "x-user-roles",
        "x-user-scopes",
        "x-session-id",
        "x-token-id",
        "x-auth-time",
    ]


@given(
    user=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    ids=st.tuples(*[st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)] * 2),
    words=st.tuples(*[st.frozensets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), max_size=3)] * 2),
    auth_time=st.none() | st.integers(0, MAX_SECONDS),
)
def test_a_token_is_covered_in_one_go_as_header_by_header(
    user: str, ids: tuple[str, str], words: tuple[frozenset[str], frozenset[str]], auth_time: int | None
) -> None:
    said: dict[str, Any] = {
        "user_id": user,
        "roles": words[0],
        "scopes": words[1],
        "session_id": ids[0],
        "token_id": ids[1],
        "auth_time": auth_time,
    }
    covered, headers = cover_token(**said), token_headers(**said)
    assert covered == cover(headers)
    assert covered.headers == headers


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": ""},
        {"session_id": ""},
        {"token_id": ""},
        {"roles": frozenset({""})},
        {"scopes": frozenset({"\ud800"})},
        {"user_id": "\ud800"},
        {"auth_time": -1},
        {"auth_time": MAX_SECONDS + 1},
    ],
    ids=str,
)
def test_what_cannot_be_a_header_cannot_be_covered_in_one_go(change: dict[str, Any]) -> None:
    said: dict[str, Any] = {
        "user_id": "alice",
        "roles": frozenset(),
        "scopes": frozenset(),
        "session_id": "s",
        "token_id": "t",
        "auth_time": 0,
    }
    for make in (cover_token, token_headers):
        with pytest.raises(ValueError):  # noqa: PT011 - of the encoder, too
            make(**{**said, **change})
