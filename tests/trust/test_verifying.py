from dataclasses import replace

import pytest

from lockgate_trust import LinkKey, LinkKeys, Refused, SignatureRefused, content_digest
from lockgate_trust.headers import CONTENT_DIGEST, IDENTITY_HEADERS, REQUEST_ID, SIGNATURE, SIGNATURE_INPUT, TRACEPARENT
from tests.support.links import (
    ALICE,
    GATEWAY_TO_ORDERS,
    IDENTITY,
    NOW,
    ORDERS_KEYS,
    ORDERS_TO_PRODUCTS,
    PRODUCTS_KEYS,
    REQUEST,
    Received,
    accepted,
    refusal,
    signature_over,
    signed,
)


def signed_as(old: str, new: str) -> Received:
    """A request whose signature is right for a Signature-Input with one part of it replaced."""
    request = signed(headers=((REQUEST_ID, REQUEST),))
    claimed = request.value(SIGNATURE_INPUT)
    assert old in claimed
    claim = claimed.replace(old, new)
    base = (
        f'"@method": GET\n"@path": /orders/42\n"@query": ?page=2\n"x-request-id": {REQUEST}\n'
        f'"@signature-params": {claim.removeprefix("lockgate=")}'
    )
    text = signature_over(base, GATEWAY_TO_ORDERS.secret)
    return request.altered(SIGNATURE_INPUT, lambda _: claim).altered(SIGNATURE, lambda _: text)


def test_a_request_as_it_was_signed_is_accepted() -> None:
    verified = accepted(signed(method="POST", body=b"{}").verified())
    assert verified.origin == "gateway"
    assert verified.key_id == "gateway.orders.3fa9c2d1"
    assert verified.content_digest == content_digest(b"{}")
    assert verified.expires == NOW + 10
    assert len(verified.signature) == 32


def test_the_case_and_the_order_of_header_names_do_not_matter() -> None:
    request = signed()
    accepted(
        replace(request, headers=tuple((name.title(), value) for name, value in reversed(request.headers))).verified()
    )


def test_other_headers_are_nobodys_business() -> None:
    accepted(
        signed().plus("accept", "a").plus("accept", "b\tc").plus("x-user-id-hint", "é").plus("cookie", "").verified()
    )


@pytest.mark.parametrize("name", [SIGNATURE, SIGNATURE_INPUT, REQUEST_ID])
def test_r62_a_request_without_a_mandatory_header_is_refused(name: str) -> None:
    assert signed().without(name).verified() == SignatureRefused(Refused.MISSING, name)


@pytest.mark.parametrize("name", [*(name for name, _ in IDENTITY), CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT])
def test_r59_a_header_that_comes_twice_is_refused_even_with_the_same_value(name: str) -> None:
    request = signed(method="POST", body=b"{}")
    assert request.plus(name.upper(), request.value(name)).verified() == SignatureRefused(
        Refused.DUPLICATE_HEADER, name
    )


@pytest.mark.parametrize(
    "spelling",
    [
        "x_user_id",
        "X_User_Id",
        "x-user_id",
        "x.user.id",
        "x--user-id",
        "x-user-id-",
        "-x-user-id",
        "xuserid",
        "x user id",
    ],
)
def test_r50_an_identity_header_in_a_disguised_spelling_is_refused(spelling: str) -> None:
    assert signed().plus(spelling, "root").verified() == SignatureRefused(Refused.DISGUISED_HEADER, "x-user-id")


@pytest.mark.parametrize("spelling", ["content_digest", "signature_input", "x_request_id", "trace_parent", "x_caller"])
def test_r50_every_header_of_the_profile_is_protected_from_disguise(spelling: str) -> None:
    assert refusal(signed().plus(spelling, "x").verified()) is Refused.DISGUISED_HEADER


@pytest.mark.parametrize("name", IDENTITY_HEADERS[1:])
def test_r59_an_identity_header_added_after_signing_is_refused(name: str) -> None:
    request = signed(headers=((REQUEST_ID, REQUEST),))
    assert request.plus(name, "1").verified() == SignatureRefused(Refused.NOT_COVERED, name)


@pytest.mark.parametrize("name", [name for name, _ in IDENTITY[1:]])
def test_a_covered_header_that_got_lost_is_refused(name: str) -> None:
    assert signed().without(name).verified() == SignatureRefused(Refused.COVERED_ABSENT, name)


@pytest.mark.parametrize(
    "moved",
    [
        *(replace(signed(), method=method) for method in ("POST", "get", "GETS")),
        *(
            replace(signed(), path=path)
            for path in ("/orders/43", "/orders/42/", "/orders/%34%32", "/orders/42?page=2")
        ),
        *(replace(signed(), query=query) for query in ("page=3", "", "page=2&", "page=%32", "?page=2")),
    ],
)
def test_r59_another_target_is_refused(moved: Received) -> None:
    assert refusal(moved.verified()) is Refused.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("odd", "about"),
    [
        (replace(signed(), method=""), "@method"),
        (replace(signed(), method="GET\n"), "@method"),
        (replace(signed(), path=""), "@path"),
        (replace(signed(), path="/orders/42 "), "@path"),
        (replace(signed(), path="/é"), "@path"),
        (replace(signed(), path='/orders/42\n"@query": ?page=2'), "@path"),
        (replace(signed(), query="page=2\n"), "@query"),
        (replace(signed(), query="\x00"), "@query"),
    ],
)
def test_a_target_outside_visible_ascii_is_malformed(odd: Received, about: str) -> None:
    assert odd.verified() == SignatureRefused(Refused.MALFORMED, about)


@pytest.mark.parametrize("value", ["alice\n", "ali\nce", " alice", "alice ", "alice\t", "Zoë", "a\x00"])
def test_a_profile_header_that_is_not_one_line_of_ascii_is_malformed(value: str) -> None:
    request = signed().altered("x-user-id", lambda _: value)
    assert request.verified() == SignatureRefused(Refused.MALFORMED, "x-user-id")


def test_r59_a_signature_for_another_service_is_refused() -> None:
    assert refusal(signed().verified(PRODUCTS_KEYS)) is Refused.UNKNOWN_KEY


def test_a_service_does_not_accept_what_it_signed_itself() -> None:
    mine = signed(key=ORDERS_TO_PRODUCTS, headers=((REQUEST_ID, REQUEST),))
    accepted(mine.verified(PRODUCTS_KEYS))
    assert refusal(mine.verified(ORDERS_KEYS)) is Refused.UNKNOWN_KEY


def test_another_secret_under_a_known_key_id_is_refused() -> None:
    forged = LinkKey(GATEWAY_TO_ORDERS.key_id, "gateway", "orders", bytes(32))
    assert refusal(signed(key=forged).verified()) is Refused.BAD_SIGNATURE


def test_the_other_key_of_a_link_in_rotation_is_accepted() -> None:
    second = LinkKey("gateway.orders.00000002", "gateway", "orders", bytes(32))
    keys = LinkKeys(me="orders", inbound={"gateway": [GATEWAY_TO_ORDERS, second]})
    assert accepted(signed(key=second).verified(keys)).origin == "gateway"
    assert accepted(signed().verified(keys)).origin == "gateway"


@pytest.mark.parametrize(
    ("elapsed", "reason"),
    [
        (-10.1, Refused.NOT_YET_VALID),
        (-3600.0, Refused.NOT_YET_VALID),
        (20.0, Refused.EXPIRED),
        (3600.0, Refused.EXPIRED),
    ],
)
def test_r59_a_signature_outside_its_window_is_refused(elapsed: float, reason: Refused) -> None:
    assert refusal(signed().verified(now=NOW + elapsed)) is reason


@pytest.mark.parametrize("elapsed", [-10.0, 0.0, 10.0, 19.999])
def test_a_signature_inside_its_window_is_accepted(elapsed: float) -> None:
    accepted(signed().verified(now=NOW + elapsed))


@pytest.mark.parametrize("now", [float("nan"), float("inf"), float("-inf")])
def test_a_broken_clock_lets_nothing_through(now: float) -> None:
    assert refusal(signed().verified(now=now)) in {Refused.NOT_YET_VALID, Refused.EXPIRED}


def test_the_signature_of_the_altered_claim_is_otherwise_right() -> None:
    accepted(signed_as("expires=1767225610", "expires=1767225660").verified())


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("expires=1767225610", "expires=1767225661", Refused.LIFETIME),
        ("expires=1767225610", "expires=1767225600", Refused.LIFETIME),
        ("expires=1767225610", "expires=1767225599", Refused.LIFETIME),
        ("lockgate-identity", "other-purpose", Refused.WRONG_TAG),
        ("gateway.orders.3fa9c2d1", "gateway.orders.ffffffff", Refused.UNKNOWN_KEY),
        (' "x-request-id"', "", Refused.NOT_COVERED),
        ('"@method" ', "", Refused.NOT_COVERED),
        (' "@query"', "", Refused.NOT_COVERED),
        ('"x-request-id"', '"x-request-id" "x-user-id"', Refused.COVERED_ABSENT),
        ('"x-request-id"', '"x-request-id" "content-digest"', Refused.COVERED_ABSENT),
        ('"x-request-id"', '"x-request-id" "host"', Refused.MALFORMED),
        ('"x-request-id"', '"x-request-id" "x-request-id"', Refused.MALFORMED),
        ('"@method" "@path"', '"@path" "@method"', Refused.MALFORMED),
        ('"@query"', '"@query";req', Refused.MALFORMED),
        ('"x-request-id"', '"X-Request-Id"', Refused.MALFORMED),
        (";created=1767225600", "", Refused.MALFORMED),
        (";created=1767225600", ";created=01767225600", Refused.MALFORMED),
        (";created=1767225600", ";created=1767225600.0", Refused.MALFORMED),
        (";created=1767225600", ";created=-1", Refused.MALFORMED),
        (";created=1767225600", ";created=١٧٦٧٢٢٥٦٠٠", Refused.MALFORMED),
        (";expires=1767225610", "", Refused.MALFORMED),
        (";expires", ";expires=1;expires", Refused.MALFORMED),
        (";tag", ';alg="none";tag', Refused.MALFORMED),
        (";tag", ';alg="hmac-sha256";tag', Refused.MALFORMED),
        (";nonce", "; nonce", Refused.MALFORMED),
        ("lockgate=", "other=", Refused.MALFORMED),
        ("lockgate=", "Lockgate=", Refused.MALFORMED),
        ("lockgate=", "lockgate =", Refused.MALFORMED),
        ('tag="lockgate-identity"', 'tag="lockgate-identity", b=()', Refused.MALFORMED),
        ('tag="lockgate-identity"', "tag=lockgate-identity", Refused.MALFORMED),
    ],
)
def test_a_claim_outside_the_profile_is_refused_however_well_signed(old: str, new: str, reason: Refused) -> None:
    assert refusal(signed_as(old, new).verified()) is reason


@pytest.mark.parametrize(
    "value",
    [
        "",
        "lockgate=::",
        "lockgate=:AAAA:",
        f"lockgate=:{'A' * 43}:",
        f"lockgate=:{'A' * 44}:",
        f"lockgate={'A' * 43}=",
        f"other=:{'A' * 43}=:",
        f"lockgate=:{'_' * 43}=:",
        f"lockgate=:{'A' * 43}=:, b=:AA==:",
        f"lockgate=:{'A' * 43}=:;x",
    ],
)
def test_a_signature_of_another_form_is_malformed(value: str) -> None:
    assert signed().altered(SIGNATURE, lambda _: value).verified() == SignatureRefused(Refused.MALFORMED, SIGNATURE)


def test_the_second_base64_spelling_of_a_right_signature_is_refused() -> None:
    # The last character before the padding carries two bits that decode to nothing.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def respell(text: str) -> str:
        return f"{text[:-3]}{letters[letters.index(text[-3]) ^ 1]}{text[-2:]}"

    assert refusal(signed().altered(SIGNATURE, respell).verified()) is Refused.BAD_SIGNATURE


@pytest.mark.parametrize(
    "value", ["", "sha-256=:AAAA:", "sha-512=:AAAA:", content_digest(b"") + ", md5=:AA==:", content_digest(b"").upper()]
)
def test_a_content_digest_of_another_form_is_malformed(value: str) -> None:
    request = signed(method="POST", body=b"{}").altered(CONTENT_DIGEST, lambda _: value)
    assert request.verified() == SignatureRefused(Refused.MALFORMED, CONTENT_DIGEST)


def test_signatures_of_two_requests_cannot_be_mixed() -> None:
    one, other = signed(), signed(headers=((REQUEST_ID, REQUEST), (TRACEPARENT, "t"), *ALICE))
    mixed = one.altered(SIGNATURE, lambda _: other.value(SIGNATURE))
    assert refusal(mixed.verified()) is Refused.BAD_SIGNATURE
    mixed = mixed.altered(SIGNATURE_INPUT, lambda _: other.value(SIGNATURE_INPUT))
    assert refusal(mixed.verified()) is Refused.BAD_SIGNATURE


def test_a_refusal_repeats_nothing_that_the_client_sent() -> None:
    for hostile in (signed().plus("X_User\r\n_Id", "forged"), signed().altered("x-user-id", lambda _: "forged\n")):
        assert repr(hostile.verified()).count("x-user-id") == 1
        assert "forged" not in repr(hostile.verified())


def test_a_verified_request_does_not_show_its_signature() -> None:
    verified = accepted(signed().verified())
    assert repr(verified.signature) not in repr(verified)
