"""The profile is RFC 9421: an independent implementation of it agrees with ours in both directions."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, InvalidSignature, MappingKeyResolver
from http_message_signatures.algorithms import HMAC_SHA256

from lockgate_trust import Signer, content_digest, cover, cover_further
from lockgate_trust.headers import CONTENT_DIGEST, REQUEST_ID, SIGNATURE, SIGNATURE_INPUT
from tests.support.links import ALICE, GATEWAY_TO_ORDERS, IDENTITY, NOW, REQUEST, Headers, Received, accepted, signed

SECRETS = {GATEWAY_TO_ORDERS.key_id: GATEWAY_TO_ORDERS.secret}
RESOLVER = MappingKeyResolver(public_keys=SECRETS, private_keys=SECRETS)
BODY = b'{"sku": "chair"}'
TARGETS = [("/orders/42", "page=2"), ("/orders", ""), ("/a%2Fb/%C3%AB", "q=%20a&q=%2B&empty="), ("/;v=1/..x", "a?b")]
IDENTITIES = [IDENTITY, IDENTITY[:1], (*IDENTITY[:3], ("x-user-roles", ""), ("x-user-scopes", ""))]


@dataclass
class Message:
    """A request in the form that the library asks for."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)


class Verifier(HTTPMessageVerifier):
    # It reads the system's clock; how times are judged is not what is compared here.
    max_clock_skew = timedelta(days=36_500)


def as_message(request: Received) -> Message:
    query = f"?{request.query}" if request.query else ""
    return Message(request.method, f"http://orders:8102{request.path}{query}", dict(request.headers))


def test_their_verifier_accepts_headers_of_chosen_names() -> None:
    """R-321."""
    chosen = (("x-forwarded-user", "alice"), ("remote-email", ""))
    covered = cover_further(cover(ALICE), chosen)
    signature_input, signature = Signer(GATEWAY_TO_ORDERS).sign(
        method="GET",
        path="/orders",
        query="",
        request_id=REQUEST,
        traceparent=None,
        covered=covered,
        content_digest=None,
        now=NOW,
    )
    headers = {REQUEST_ID: REQUEST, **dict(covered.headers), SIGNATURE_INPUT: signature_input, SIGNATURE: signature}
    names = ("@method", "@path", "@query", REQUEST_ID, *(name for name, _ in (*ALICE, *chosen)))
    [result] = Verifier(signature_algorithm=HMAC_SHA256, key_resolver=RESOLVER).verify(
        Message("GET", "http://orders:8102/orders", headers), max_age=None, require_components=names
    )
    assert result.label == "lockgate"


@pytest.mark.parametrize(("path", "query"), TARGETS)
@pytest.mark.parametrize("headers", IDENTITIES)
@pytest.mark.parametrize("body", [None, BODY])
def test_their_verifier_accepts_our_signature(path: str, query: str, headers: Headers, body: bytes | None) -> None:
    request = signed(method="POST", path=path, query=query, headers=headers, body=body)
    covered = ("@method", "@path", "@query", *(name for name, _ in headers))
    [result] = Verifier(signature_algorithm=HMAC_SHA256, key_resolver=RESOLVER).verify(
        as_message(request),
        max_age=None,
        expect_tag="lockgate-identity",
        expect_label="lockgate",
        require_components=covered if body is None else (*covered, CONTENT_DIGEST),
        body=body,
    )
    assert result.label == "lockgate"
    assert result.parameters["created"] == NOW
    assert result.parameters["expires"] == NOW + 10
    assert result.parameters["keyid"] == GATEWAY_TO_ORDERS.key_id
    assert result.body == body


def test_their_verifier_refuses_our_signature_once_the_request_was_changed() -> None:
    message = as_message(signed())
    message.headers["x-user-id"] = "root"
    with pytest.raises(InvalidSignature):
        Verifier(signature_algorithm=HMAC_SHA256, key_resolver=RESOLVER).verify(
            message, max_age=None, expect_tag="lockgate-identity"
        )


@pytest.mark.parametrize(("path", "query"), TARGETS)
@pytest.mark.parametrize("headers", IDENTITIES)
@pytest.mark.parametrize("body", [None, BODY])
def test_our_verifier_accepts_their_signature(path: str, query: str, headers: Headers, body: bytes | None) -> None:
    request = signed_by_library(path, query, headers, body)
    verified = accepted(request.verified())
    assert verified.caller.request_id == REQUEST
    assert verified.content_digest == (None if body is None else content_digest(body))


def test_our_verifier_refuses_their_signature_once_the_request_was_changed() -> None:
    request = signed_by_library("/orders", "", IDENTITY, None)
    accepted(request.verified())
    assert not hasattr(request.altered("x-user-id", lambda _: "root").verified(), "caller")


def signed_by_library(path: str, query: str, headers: Headers, body: bytes | None) -> Received:
    """Have the library build the base, sign it and write the headers.

    It puts the parameters in an order of its own, and the profile in another; so they are put in ours between its two
    steps, and the second step, which builds the base anew from the message, checks that this is all that has changed.
    """
    message = as_message(Received("POST", path, query, headers))
    signer = HTTPMessageSigner(signature_algorithm=HMAC_SHA256, key_resolver=RESOLVER)
    created = datetime.fromtimestamp(NOW, UTC)
    theirs = signer.prepare(
        message,
        key_id=GATEWAY_TO_ORDERS.key_id,
        created=created,
        expires=created + timedelta(seconds=10),
        nonce="0123456789abcdef",
        label="lockgate",
        tag="lockgate-identity",
        include_alg=False,
        covered_component_ids=("@method", "@path", "@query", *(name for name, _ in headers)),
        body=body,
    )
    components = theirs.signature_params.partition(")")[0]
    params = (
        f'{components});created=1767225600;expires=1767225610;nonce="0123456789abcdef"'
        f';keyid="{GATEWAY_TO_ORDERS.key_id}";tag="lockgate-identity"'
    )
    assert sorted(params.split(";")) == sorted(theirs.signature_params.split(";"))
    base = theirs.signature_base.replace(theirs.signature_params.encode(), params.encode())
    prepared = replace(theirs, signature_params=params, signature_base=base)
    algorithm = HMAC_SHA256(private_key=GATEWAY_TO_ORDERS.secret)  # type: ignore[no-untyped-call]
    signature = algorithm.sign(prepared.signature_base)
    signer.apply(message, prepared, signature)
    received = tuple((name.lower(), value) for name, value in message.headers.items())
    assert {REQUEST_ID, SIGNATURE, SIGNATURE_INPUT} <= {name for name, _ in received}
    return Received("POST", path, query, received)
