"""SECURITY.md section 1: whether a token is a JWS that one of our keys signed. Each test names its requirement."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.errors import Reason, Refusal
from lockgate.keys.keyring import KeyRing, PrivateKey
from lockgate.stores.layout import admission_keys
from tests.support.clock import ManualClock
from tests.support.signers import Gate, Signer, accepted, generate, refused
from tests.support.tokens import ABSENT, base64url, encoded

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_a_token_of_each_kind_of_key_is_believed(gate: Gate, each_signer: Signer) -> None:
    claims = accepted(gate.judge(each_signer.token()))
    assert claims.principal.sub == "alice"
    assert claims.principal.scopes == {"orders:read"}
    assert claims.question == admission_keys("alice", "token-1", "session-1")


def test_the_header_cannot_choose_another_algorithm_than_the_keys(
    gate: Gate, each_signer: Signer, ring: KeyRing
) -> None:
    """R-01"""
    algorithms = {key.alg for key in ring.verifying.values()} - {each_signer.alg}
    for alg in (*algorithms, "ES384", "PS256", "RS512", "Ed25519"):
        refused(gate.judge(each_signer.token(each_signer.header(alg=alg))), Reason.TOKEN_UNKNOWN_KEY)


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", None, 0, True, [], ["EdDSA"], {}, "eddsa", "EDDSA"]
)
def test_no_algorithm_is_no_signature(gate: Gate, signer: Signer, alg: object) -> None:
    """R-02: `none` in any case, not a string, empty, or the right one in another case."""
    head, body, sign = signer.token(signer.header(alg=alg)).split(".")
    refused(gate.judge(f"{head}.{body}.{sign}"), Reason.TOKEN_UNKNOWN_KEY)
    refused(gate.judge(f"{head}.{body}."), Reason.TOKEN_MALFORMED)


def test_a_header_without_an_algorithm_is_refused(gate: Gate, signer: Signer) -> None:
    """R-02"""
    refused(gate.judge(signer.token(signer.header(alg=ABSENT))), Reason.TOKEN_UNKNOWN_KEY)


_SECRETS: Mapping[str, tuple[serialization.Encoding, serialization.PublicFormat, Callable[[bytes], bytes]]] = {
    "pem": (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo, bytes),
    "pem without its last line feed": (
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo,
        bytes.strip,
    ),
    "pem with carriage returns": (
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo,
        lambda text: text.replace(b"\n", b"\r\n"),
    ),
    "der": (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo, bytes),
    "openssh": (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH, bytes),
    "raw": (serialization.Encoding.Raw, serialization.PublicFormat.Raw, bytes),
    "raw in hexadecimal": (
        serialization.Encoding.Raw,
        serialization.PublicFormat.Raw,
        lambda data: data.hex().encode(),
    ),
}


@pytest.mark.parametrize("spelling", _SECRETS)
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_never_a_shared_secret(gate: Gate, signer: Signer, alg: str, spelling: str) -> None:
    """R-03"""
    encoding, form, respell = _SECRETS[spelling]
    secret = respell(signer.key.public_key().public_bytes(encoding, form))
    text = f"{encoded(signer.header(alg=alg))}.{encoded(signer.claims())}"
    mac = hmac.new(secret, text.encode(), getattr(hashlib, f"sha{alg[2:]}")).digest()
    refused(gate.judge(f"{text}.{base64url(mac)}"), Reason.TOKEN_UNKNOWN_KEY)


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_the_sender_brings_is_not_used(gate: Gate, signer: Signer, clock: ManualClock, name: str) -> None:
    """R-05: nothing is fetched either, for the verifier has nothing to fetch with."""
    own = generate("EdDSA")
    raw = own.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)  # type: ignore[union-attr, call-arg, unused-ignore]
    value: object = {
        "jwk": {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw), "kid": signer.kid},
        "jku": "http://127.0.0.1:9/jwks.json",
        "x5u": "http://127.0.0.1:9/chain.pem",
        "x5c": [base64.b64encode(raw).decode()],
    }[name]
    forger = Signer(signer.ring, own, "EdDSA", clock)
    forged = forger.token(signer.header(**{name: value}))
    refused(gate.judge(forged), Reason.TOKEN_MALFORMED)
    refused(gate.judge(signer.token(signer.header(**{name: value}))), Reason.TOKEN_MALFORMED)


@pytest.mark.parametrize(
    "kid",
    [
        ABSENT,
        None,
        1,
        True,
        [],
        {},
        "",
        "x" * 129,
        "unknown",
        "../../keys/ring.json",
        "' OR 1=1 --",
        "lg:*",
        "a\u0000b",
    ],
)
def test_a_key_is_found_by_its_exact_id_only(gate: Gate, signer: Signer, kid: object) -> None:
    """R-06"""
    refused(gate.judge(signer.token(signer.header(kid=kid))), Reason.TOKEN_UNKNOWN_KEY)


def test_a_key_id_has_no_second_spelling(gate: Gate, signer: Signer) -> None:
    """R-06"""
    for kid in (f" {signer.kid}", f"{signer.kid} ", signer.kid.swapcase(), signer.kid[:-1], f"{signer.kid}\u0000"):
        refused(gate.judge(signer.token(signer.header(kid=kid))), Reason.TOKEN_UNKNOWN_KEY)


@pytest.mark.parametrize(
    "extension",
    [
        {"crit": []},
        {"crit": "exp"},
        {"crit": ["alg"]},
        {"crit": ["absent"]},
        {"crit": ["b64"], "b64": False},
        {"crit": None},
        {"b64": False},
        {"b64": True},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
    ],
    ids=str,
)
def test_an_extension_is_never_understood(gate: Gate, signer: Signer, extension: dict[str, object]) -> None:
    """R-07"""
    refused(gate.judge(signer.token(signer.header(**extension))), Reason.TOKEN_MALFORMED)


def test_a_signature_has_the_length_of_its_algorithm(gate: Gate, each_signer: Signer) -> None:
    """R-09: truncated, with more bytes behind or before it, all zero."""
    head, body, sign = each_signer.token().split(".")
    good = base64.urlsafe_b64decode(sign + "==")
    for bad in (good[:-1], good[1:], good + b"\0", b"\0" + good, bytes(len(good)), b"\0", good + good):
        refused(gate.judge(f"{head}.{body}.{base64url(bad)}"), Reason.TOKEN_BAD_SIGNATURE)


@pytest.mark.parametrize(
    ("r", "s"), [(0, 0), (0, 1), (1, 0), (P256_ORDER, 1), (1, P256_ORDER), (P256_ORDER, P256_ORDER), (1, 1)]
)
def test_es256_numbers_lie_in_their_range(  # noqa: PLR0913, PLR0917 - fixtures
    gate: Gate, private_keys: Mapping[str, PrivateKey], ring: KeyRing, clock: ManualClock, r: int, s: int
) -> None:
    """R-09: CVE-2022-21449 and its neighbours."""
    signer = Signer(ring, private_keys["ES256"], "ES256", clock)
    head, body, _ = signer.token().split(".")
    sign = base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    refused(gate.judge(f"{head}.{body}.{sign}"), Reason.TOKEN_BAD_SIGNATURE)


def test_es256_takes_no_der(
    gate: Gate, private_keys: Mapping[str, PrivateKey], ring: KeyRing, clock: ManualClock
) -> None:
    """R-09"""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - the one use

    signer = Signer(ring, private_keys["ES256"], "ES256", clock)
    head, body, _ = signer.token().split(".")
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    der = signer.key.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    refused(gate.judge(f"{head}.{body}.{base64url(der)}"), Reason.TOKEN_BAD_SIGNATURE)


def test_ed25519_s_is_below_the_order(gate: Gate, signer: Signer) -> None:
    """R-09: S + L is the malleable twin."""
    head, body, sign = signer.token().split(".")
    good = base64.urlsafe_b64decode(sign + "==")
    twin = (int.from_bytes(good[32:], "little") + ED25519_ORDER).to_bytes(32, "little")
    refused(gate.judge(f"{head}.{body}.{base64url(good[:32] + twin)}"), Reason.TOKEN_BAD_SIGNATURE)


def test_the_second_es256_signature_of_a_token_asks_for_the_same_revocation(
    gate: Gate, private_keys: Mapping[str, PrivateKey], ring: KeyRing, clock: ManualClock
) -> None:
    """R-10, R-155: n - s is valid as well, so what is asked of Redis depends on `jti`, not on the text."""
    signer = Signer(ring, private_keys["ES256"], "ES256", clock)
    token = signer.token()
    head, body, sign = token.split(".")
    good = base64.urlsafe_b64decode(sign + "==")
    other = (P256_ORDER - int.from_bytes(good[32:], "big")).to_bytes(32, "big")
    twin = f"{head}.{body}.{base64url(good[:32] + other)}"
    assert twin != token
    assert accepted(gate.judge(twin)).question == accepted(gate.judge(token)).question


_ODD_JSON: Mapping[str, Callable[[bytes], bytes]] = {
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda text: text.decode().encode("utf-16-le"),
    "UTF-32": lambda text: text.decode().encode("utf-32"),
    "invalid UTF-8": lambda text: text[:-1] + b',"x":"\xff"}',
    "a surrogate in UTF-8": lambda text: text[:-1] + b',"x":"\xed\xa0\x80"}',
    "an escaped lone surrogate": lambda text: text[:-1] + b',"x":"\\ud800"}',
    "overlong UTF-8": lambda text: text[:-1] + b',"x":"\xc0\xaf"}',
    "NUL padding": lambda text: text + b"\0",
    "trailing bytes": lambda text: text + b"{}",
    "an array": lambda text: b"[" + text + b"]",
    "a string": lambda text: json.dumps(text.decode()).encode(),
    "null": lambda _: b"null",
    "a number": lambda _: b"1",
    "NaN": lambda text: text[:-1] + b',"x":NaN}',
    "Infinity": lambda text: text[:-1] + b',"x":-Infinity}',
    "a number out of range": lambda text: text[:-1] + b',"x":1e400}',
    "a very long integer": lambda text: text[:-1] + b',"x":' + b"9" * 21 + b"}",
    "an integer of five thousand digits": lambda text: text[:-1] + b',"x":' + b"9" * 5000 + b"}",
    "nesting": lambda text: text[:-1] + b',"x":' + b"[" * 17 + b"]" * 17 + b"}",
    "deep nesting": lambda text: text[:-1] + b',"x":' + b"[" * 2500 + b"]" * 2500 + b"}",
    "deep nesting with an escape": lambda text: text[:-1] + b',"y":"\\u0041","x":' + b"[" * 960 + b"]" * 960 + b"}",
    "single quotes": lambda text: text.replace(b'"', b"'"),
    "a comment": lambda text: text + b"//",
    "a trailing comma": lambda text: text[:-1] + b",}",
    "a control character in a string": lambda text: text[:-1] + b',"x":"\n"}',
}


@pytest.mark.parametrize("oddity", _ODD_JSON)
def test_header_and_payload_are_strict_json_objects(gate: Gate, signer: Signer, oddity: str) -> None:
    """R-11"""
    spoil = _ODD_JSON[oddity]
    header = json.dumps(signer.header()).encode()
    payload = json.dumps(signer.claims()).encode()
    refused(gate.judge(signer.raw(header=spoil(header))), Reason.TOKEN_MALFORMED)
    refused(gate.judge(signer.raw(payload=spoil(payload))), Reason.TOKEN_MALFORMED)


@pytest.mark.parametrize("depth", range(900, 1001, 4))
def test_no_depth_of_nesting_gets_past_the_limit_as_a_fault(gate: Gate, signer: Signer, depth: int) -> None:
    """R-11: around the interpreter's own recursion limit, where the decoder copes and what comes after may not."""
    payload = b'{"y":"\\u0041","x":' + b"[" * depth + b"]" * depth + b"}"
    refused(gate.judge(signer.raw(payload=payload)), Reason.TOKEN_MALFORMED)


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
def test_a_header_member_stands_once(gate: Gate, signer: Signer, name: str) -> None:
    """R-11: also where both are equal, and where the second is spelled with escapes."""
    value = json.dumps(signer.header()[name])
    spelled = f"\\u{ord(name[0]):04x}{name[1:]}"
    for again in (name, spelled):
        header = json.dumps(signer.header())[:-1] + f',"{again}":{value}}}'
        refused(gate.judge(signer.raw(header=header.encode())), Reason.TOKEN_MALFORMED)


@pytest.mark.parametrize("name", ["sub", "exp", "aud", "jti", "epoch"])
def test_a_claim_stands_once(gate: Gate, signer: Signer, name: str) -> None:
    """R-11"""
    payload = json.dumps(signer.claims())[:-1] + f',"{name}":{json.dumps(signer.claims()[name])}}}'
    refused(gate.judge(signer.raw(payload=payload.encode())), Reason.TOKEN_MALFORMED)


def test_a_token_of_another_key_of_the_ring_is_refused(
    gate: Gate, signer: Signer, private_keys: Mapping[str, PrivateKey], ring: KeyRing, clock: ManualClock
) -> None:
    """R-01, R-14: a signature counts for the key that the header names, and for no other."""
    other = Signer(ring, private_keys["ES256"], "ES256", clock)
    head, body, _ = signer.token().split(".")
    _, _, sign = other.token().split(".")
    refused(gate.judge(f"{head}.{body}.{sign}"), Reason.TOKEN_BAD_SIGNATURE)
    refused(gate.judge(other.token(other.header(kid=signer.kid))), Reason.TOKEN_UNKNOWN_KEY)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_character_anywhere_is_refused(gate: Gate, signer: Signer, data: st.DataObject) -> None:
    """R-08, R-09: the last characters with their unused bits included."""
    token = signer.token()
    assert gate.judge(token)
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from([*ALPHABET, ".", "=", " "]).filter(lambda one: one != token[place]))
    refused(
        gate.judge(token[:place] + character + token[place + 1 :]),
        *(reason for reason in Reason if reason.code == "invalid_token"),
    )


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.one_of(st.binary(max_size=200), st.lists(st.text(ALPHABET, max_size=60), max_size=5).map(".".join)))
def test_arbitrary_bytes_are_refused_and_nothing_breaks(gate: Gate, token: str | bytes) -> None:
    """R-08"""
    refused(gate.judge(token), Reason.TOKEN_MALFORMED, Reason.TOKEN_WRONG_TYPE)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=10,
)
_NAMES = [
    "iss",
    "aud",
    "sub",
    "client_id",
    "iat",
    "exp",
    "nbf",
    "jti",
    "sid",
    "scope",
    "roles",
    "epoch",
    "auth_time",
    "amr",
]


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(claims=st.dictionaries(st.sampled_from(_NAMES), _JSON, min_size=1, max_size=3), header=st.none() | _JSON)
def test_whatever_a_signed_token_says_there_is_a_verdict(
    gate: Gate, signer: Signer, claims: dict[str, object], header: object
) -> None:
    """R-21, R-24, R-27, R-28: any JSON value for any claim; never an exception, and headers stay one line of ASCII."""
    head = encoded(signer.header()) if header is None else encoded(header)
    outcome = gate.judge(signer.sign(head, encoded(signer.claims(**claims))))
    if isinstance(outcome, Refusal):
        assert outcome.reason.code == ("token_expired" if outcome.reason is Reason.TOKEN_EXPIRED else "invalid_token")
    else:
        lines = outcome.principal.covered.head.split("\r\n")
        assert all(line.isprintable() for line in lines)
        assert len(lines) <= 8
