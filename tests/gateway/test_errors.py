"""What clients are told is one table; several reasons may share an answer, and none gives away too much."""

from __future__ import annotations

from http import HTTPStatus

from gateway.errors import Reason

OAUTH_WORDS = {
    None,
    "invalid_request",
    "invalid_token",
    "insufficient_scope",
    "invalid_grant",
    "invalid_client",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "temporarily_unavailable",
    "access_denied",
}


def test_reasons_with_equal_answers_are_different_reasons() -> None:
    assert Reason.TOKEN_EXPIRED.answer == Reason.TOKEN_REVOKED.answer
    assert len({Reason.TOKEN_EXPIRED, Reason.TOKEN_REVOKED}) == 2
    assert len({reason.name for reason in Reason}) == len(list(Reason))


def test_no_answer_tells_what_was_wrong_with_an_access_token() -> None:
    """`E-TOKEN`: no oracle."""
    names = [r for r in Reason if r.name.startswith("TOKEN_") or r in (Reason.SESSION_ENDED, Reason.EPOCH_RAISED)]
    assert len(names) > 8
    assert {reason.answer for reason in names} == {Reason.TOKEN_MALFORMED.answer}


def test_every_answer_is_an_error_of_http_and_its_words_are_those_of_oauth() -> None:
    for reason in Reason:
        status, code, title, oauth_error = reason.answer
        assert HTTPStatus(status) >= HTTPStatus.BAD_REQUEST
        assert code.replace("_", "").isalnum()
        assert code == code.lower()
        assert title
        assert oauth_error in OAUTH_WORDS, reason
