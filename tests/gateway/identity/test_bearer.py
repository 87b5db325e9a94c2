"""SECURITY.md section 4 and R-08: the credential in an Authorization field, before anything of it is decoded."""

from __future__ import annotations

import pytest

from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import MAX_TOKEN_BYTES, bearer, format_gate


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_the_scheme_is_compared_without_case(scheme: bytes) -> None:
    """R-40"""
    assert bearer((scheme + b" aa.bb.cc",)) == "aa.bb.cc"


@pytest.mark.parametrize(
    "field",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer  aa.bb.cc",
        b"Bearer\taa.bb.cc",
        b" Bearer aa.bb.cc",
        b"Bearer aa.bb.cc ",
        b"Bearer aa.bb.cc x",
        b'Bearer "aa.bb.cc"',
        b"Bearer aa.bb.cc\n",
        b"Bearer aa.bb.cc\0",
        b"Bearer token=aa.bb.cc;x",
        b"Bearer \xc3\xa9.bb.cc",
        b"Bearer =aa.bb.cc",
        b"aa.bb.cc",
        b"null",
        b"Basic",
        b"Basic\tYWxpY2U6cHc=",
        b"Bearer: aa.bb.cc",
        b'"Basic" YWxpY2U6cHc=',
        b" ",
        b"\xff",
        b"=",
    ],
)
def test_a_credential_that_cannot_be_read_is_refused_and_never_taken_for_none(field: bytes) -> None:
    """R-40, R-44, R-204: nor for another scheme's, such as a token without its scheme."""
    found = bearer((field,))
    assert isinstance(found, Refusal)
    assert found.reason is Reason.MALFORMED_CREDENTIALS
    assert found.reason.status == 400


def test_no_field_is_no_credential() -> None:
    """R-41"""
    assert bearer(()) is None


OTHERS = (
    b"Basic YWxpY2U6cHc=",
    b"basic  YWxpY2U6cHc=",
    b"Bearertoken aa",
    b'Digest username="alice", realm="shop"',
    b"DPoP aa.bb.cc",
    b"Negotiate YIIZ6wYGKwYBBQUCoIIZ3zCC",
    b"NTLM TlRMTVNTUAABAAAA",
    b"AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=fe5f",
    b"SharedKey account:c2lnbmF0dXJl",
    b"Token aa.bb.cc",
    b"token ghp_0",
    b"ApiKey aa",
    b"JWT aa.bb.cc",
)


@pytest.mark.parametrize("field", OTHERS)
def test_another_scheme_is_no_bearer_credential(field: bytes) -> None:
    """R-41, R-204: asked for credentials again, as if there were none."""
    assert bearer((field,)) is None


@pytest.mark.parametrize(
    "fields",
    [
        (b"Bearer aa.bb.cc", b"Bearer aa.bb.cc"),
        (b"Bearer aa.bb.cc", b"Basic YWxpY2U6cHc="),
        (b"Basic YWxpY2U6cHc=", b"Bearer aa.bb.cc"),
        (b"", b""),
        (b"Bearer aa.bb.cc, Bearer dd.ee.ff",),
        (b"Bearer aa.bb.cc,dd.ee.ff",),
        (b"Basic YWxpY2U6cHc=, Bearer aa.bb.cc",),
        (b"Basic YWxpY2U6cHc=,bearer aa.bb.cc",),
        (b"Basic YWxpY2U6cHc=,\tBEARER",),
        (b"Bearer aa.bb.cc, Basic YWxpY2U6cHc=",),
        (b"Negotiate YIIZ,Basic YWxpY2U6cHc=",),
    ],
    ids=repr,
)
def test_more_than_one_credential_is_refused(fields: tuple[bytes, ...]) -> None:
    """R-41: 400, whichever of them would have been good."""
    found = bearer(fields)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.REPEATED_CREDENTIALS
    assert found.reason.status == 400


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b".",
        b"..",
        b"aa",
        b"aa.bb",
        b".bb.cc",
        b"aa..cc",
        b"aa.bb.",
        b"aa.bb.cc.dd",
        b"aa.bb.cc.dd.ee",
        b"aa.bb.cc=",
        b"aa.bb==.cc",
        b"aa.bb.cc\n",
        b"aa.b b.cc",
        b"aa.bb.c+",
        b"aa.bb.c/",
        b"aa.bb.c~",
        "aa.bb.\uff43\uff43".encode(),
        b"aa.bb.\xff",
        b'{"payload":"","signatures":[]}',
        b'{"protected":"aa","payload":"bb","signature":"cc"}',
    ],
)
def test_what_is_not_three_parts_of_base64url_is_refused_before_it_is_decoded(token: bytes) -> None:
    """R-08: padding, white space, JSON serialization, the five parts of a JWE."""
    found = format_gate(token)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.TOKEN_MALFORMED


def test_a_token_has_a_longest_length() -> None:
    """R-08"""
    longest = b"a.b." + b"c" * (MAX_TOKEN_BYTES - 4)
    assert format_gate(longest) == longest.decode()
    found = format_gate(longest + b"c")
    assert isinstance(found, Refusal)
    assert found.reason is Reason.TOKEN_MALFORMED
