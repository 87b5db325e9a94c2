"""The responses to clients are one table; several reasons may share a response, and none gives away too much."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from lockgate.accounts import clients
from lockgate.endpoints import metadata
from lockgate.errors import Reason, quoted
from lockgate.identity import session_cookie
from lockgate.sessions import refresh_token

OAUTH_WORDS = {
    None,
    "invalid_request",
    "invalid_token",
    "insufficient_scope",
    "insufficient_user_authentication",
    "invalid_grant",
    "invalid_client",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "temporarily_unavailable",
    "access_denied",
}


def test_reasons_with_equal_answers_are_different_reasons() -> None:
    assert Reason.TOKEN_NOT_YET_VALID.response == Reason.TOKEN_REVOKED.response
    assert len({Reason.TOKEN_NOT_YET_VALID, Reason.TOKEN_REVOKED}) == 2
    assert len({reason.name for reason in Reason}) == len(list(Reason))


def test_no_answer_tells_what_was_wrong_with_an_access_token() -> None:
    """R-12: no oracle. That a token has expired says nothing new of one that has no other fault."""
    names = [r for r in Reason if r.name.startswith("TOKEN_") or r in (Reason.SESSION_ENDED, Reason.EPOCH_RAISED)]
    names.remove(Reason.TOKEN_EXPIRED)
    assert len(names) > 8
    assert {reason.response for reason in names} == {Reason.TOKEN_MALFORMED.response}


def test_an_unsupported_grant_is_told_the_supported_ones() -> None:
    """The same as in the metadata (RFC 8414 section 2)."""
    supported = metadata.build_metadata("https://a.example", "https://a.example", [])["grant_types_supported"]
    assert Reason.GRANT_UNSUPPORTED.response.title == f"There is no such grant; there are {' and '.join(supported)}"


def test_every_answer_is_an_error_of_http_and_its_words_are_those_of_oauth() -> None:
    for reason in Reason:
        status, code, title, oauth_error = reason.response
        assert HTTPStatus(status) >= HTTPStatus.BAD_REQUEST
        assert code.replace("_", "").isalnum()
        assert code == code.lower()
        assert title
        assert oauth_error in OAUTH_WORDS, reason


@pytest.mark.parametrize(
    "secret",
    [
        refresh_token.PREFIX + "x",
        session_cookie.PREFIX.decode() + "x",
        clients.SECRET_PREFIX + "x",
        "Bearer " + refresh_token.PREFIX + "x",
        "eyJhbGciOiJub25lIn0.e30.",
        "x" * 65,
    ],
)
def test_what_may_be_a_secret_is_not_repeated(secret: str) -> None:
    assert secret not in quoted(secret)


@pytest.mark.parametrize("name", ["alice", "a.b.c", "00000000-0000-4000-8000-000000000000", "x" * 64, "it's\n"])
def test_what_is_none_is_quoted(name: str) -> None:
    assert quoted(name) == repr(name)
