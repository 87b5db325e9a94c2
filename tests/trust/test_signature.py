import hmac
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate_trust import (
    LIFETIME_S,
    MAX_DIGEST_BODY,
    Covered,
    LinkKey,
    Signer,
    content_digest,
    cover,
    cover_further,
    signed_headers,
)
from lockgate_trust.headers import CONTENT_DIGEST, REQUEST_ID, SIGNATURE, SIGNATURE_INPUT
from lockgate_trust.signature import _KeyedHash
from tests.support.links import ALICE, GATEWAY_TO_ORDERS, NOW, REQUEST, TRACE, Headers, signature_over, signed

ROOT = Path(__file__).parents[2]


def sign(signer: Signer, *, path: str = "/orders", request_id: str = REQUEST, now: float = NOW) -> tuple[str, str]:
    return signer.sign(
        method="GET",
        path=path,
        query="",
        request_id=request_id,
        traceparent=None,
        covered=cover(()),
        content_digest=None,
        now=now,
    )


def nonce_of(signature_input: str) -> str:
    found = re.search(r'nonce="([^"]+)"', signature_input)
    assert found is not None
    return found[1]


def test_a_signature_has_the_documented_form() -> None:
    signature_input, signature = Signer(GATEWAY_TO_ORDERS).sign(
        method="POST",
        path="/orders",
        query="a=%20b",
        request_id=REQUEST,
        traceparent=TRACE,
        covered=cover(ALICE),
        content_digest=content_digest(b"{}"),
        now=NOW + 0.9,
    )
    assert re.fullmatch(
        r'lockgate=\("@method" "@path" "@query" "x-request-id" "traceparent" "x-user-id" "x-user-roles" '
        r'"x-user-scopes" "x-session-id" "x-token-id" "x-auth-time" "content-digest"\)'
        r';created=1767225600;expires=1767225610;nonce="[0-9a-f]{17,}"'
        r';keyid="gateway.orders.3fa9c2d1";tag="lockgate-identity"',
        signature_input,
    )
    assert re.fullmatch(r"lockgate=:[A-Za-z0-9+/]{43}=:", signature)


@pytest.mark.parametrize(
    "fields",
    [
        [("x-user-id", "root")],
        [("xuserid", "root")],
        [("signature", "a")],
        [("content-digest", "a")],
        [("host", "a")],
        [("X-Forwarded-User", "a")],
        [("x_forwarded_user", "a")],
        [("x-forwarded-user", "a"), ("x-forwarded-user", "b")],
        [("x-forwarded-user", "a\r\nx-user-id: root")],
        [("x-forwarded-user", "\u00e9")],
        [("x-forwarded-user", " a")],
        [(f"x-note-{number}", "a") for number in range(9)],
    ],
)
def test_no_further_header_is_one_of_the_profile_or_more_than_a_line(fields: list[tuple[str, str]]) -> None:
    """R-321."""
    with pytest.raises(ValueError, match="further header"):
        cover_further(cover(ALICE), fields)


def test_a_signature_is_the_hmac_of_the_signature_base() -> None:
    signer = Signer(GATEWAY_TO_ORDERS)
    signature_input, signature = signer.sign(
        method="GET",
        path="/a%2Fb",
        query="",
        request_id="r-1",
        traceparent=None,
        covered=cover((("x-user-id", "alice"), ("x-user-roles", ""))),
        content_digest=None,
        now=NOW,
    )
    base = (
        '"@method": GET\n"@path": /a%2Fb\n"@query": ?\n"x-request-id": r-1\n"x-user-id": alice\n"x-user-roles": \n'
        f'"@signature-params": {signature_input.removeprefix("lockgate=")}'
    )
    assert signature == signature_over(base, GATEWAY_TO_ORDERS.secret)


@given(st.binary(min_size=32, max_size=200))
def test_the_keyed_hash_is_hmac_for_a_secret_of_any_length(secret: bytes) -> None:
    signature_input, signature = sign(Signer(LinkKey("k.1", "gateway", "orders", secret)))
    base = (
        f'"@method": GET\n"@path": /orders\n"@query": ?\n"x-request-id": {REQUEST}\n'
        f'"@signature-params": {signature_input.removeprefix("lockgate=")}'
    )
    assert signature == signature_over(base, secret)


def test_the_same_request_signed_twice_gets_two_signatures() -> None:
    signer = Signer(GATEWAY_TO_ORDERS)
    assert sign(signer) != sign(signer)
    assert len({nonce_of(sign(signer)[0]) for _ in range(1000)}) == 1000


def test_two_signers_of_one_process_do_not_share_nonces() -> None:
    one, other = Signer(GATEWAY_TO_ORDERS), Signer(GATEWAY_TO_ORDERS)
    assert not {nonce_of(sign(one)[0]) for _ in range(100)} & {nonce_of(sign(other)[0]) for _ in range(100)}


def test_the_window_follows_the_clock_forward_and_back() -> None:
    signer = Signer(GATEWAY_TO_ORDERS)
    for now in (NOW, NOW + 0.5, NOW + 7, NOW - 3):
        assert f";created={int(now)};expires={int(now) + LIFETIME_S};" in sign(signer, now=now)[0]


@pytest.mark.parametrize("path", ["/a\nb", '/a\n"@query": ?x', "/a\rb", "/é", ""])
def test_a_path_that_could_forge_a_line_of_the_base_is_not_signed(path: str) -> None:
    with pytest.raises(ValueError, match=r"line break|empty|ascii"):
        sign(Signer(GATEWAY_TO_ORDERS), path=path)


def test_a_request_id_that_could_forge_a_line_of_the_base_is_not_signed() -> None:
    with pytest.raises(ValueError, match="line break"):
        sign(Signer(GATEWAY_TO_ORDERS), request_id='r\n"x-user-id": root')


@pytest.mark.parametrize("path", ["/a\nb", "/a\rb", "/\x7f", "/\x00"])
def test_a_service_signs_no_control_characters(path: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        signed_headers(GATEWAY_TO_ORDERS, method="GET", path=path, headers=[("x-request-id", "r")], now=NOW)


def test_cover_puts_the_headers_of_a_token_into_the_covered_order() -> None:
    covered = cover((("x-user-roles", "a b"), ("x-user-id", "alice"), ("x-caller", "")))
    assert covered == Covered(
        names=' "x-caller" "x-user-id" "x-user-roles"',
        lines='"x-caller": \n"x-user-id": alice\n"x-user-roles": a b\n',
        head="x-caller: \r\nx-user-id: alice\r\nx-user-roles: a b\r\n",
    )
    assert covered.headers == (("x-caller", ""), ("x-user-id", "alice"), ("x-user-roles", "a b"))


def test_cover_keeps_a_percent_sign() -> None:
    assert cover((("x-user-id", "100%25%s"),)).lines == '"x-user-id": 100%25%s\n'


@pytest.mark.parametrize(
    "headers",
    [
        (("x-request-id", "r"),),
        (("X-User-Id", "alice"),),
        (("host", "orders"),),
        (("x-user-id", "alice"), ("x-user-id", "root")),
        (("x-user-id", "alice\nroot"),),
        (("x-user-id", "alice\n"),),
        (("x-user-id", "Zoë"),),
        (("x-user-roles", " admin"),),
        (("x-user-roles", "admin\t"),),
    ],
)
def test_cover_takes_nothing_but_single_token_headers_of_one_line(headers: Headers) -> None:
    with pytest.raises(ValueError, match=r"token|printable"):
        cover(headers)


def test_signed_headers_are_complete_and_in_order() -> None:
    names = [name for name, _ in signed(method="POST", body=b"{}").headers]
    assert names == ["host", *(name for name, _ in signed().headers[1:-2]), CONTENT_DIGEST, SIGNATURE_INPUT, SIGNATURE]


def test_an_empty_and_a_long_body_are_not_covered() -> None:
    for body in (None, b"", bytes(MAX_DIGEST_BODY + 1)):
        assert CONTENT_DIGEST not in dict(signed(method="POST", body=body).headers)
    assert CONTENT_DIGEST in dict(signed(method="POST", body=bytes(MAX_DIGEST_BODY)).headers)


def test_signed_headers_need_one_request_id_and_no_foreign_header() -> None:
    with pytest.raises(ValueError, match="x-request-id is missing"):
        signed(headers=ALICE)
    with pytest.raises(ValueError, match="comes twice"):
        signed(headers=((REQUEST_ID, "a"), (REQUEST_ID, "b")))
    with pytest.raises(ValueError, match="'accept' is not a header of a token"):
        signed(headers=((REQUEST_ID, "a"), ("accept", "*/*")))


def test_the_digest_of_rfc_9530_comes_out() -> None:
    # RFC 9530, appendix B.1.
    assert content_digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


@pytest.mark.parametrize(
    ("key", "data", "digest"),
    [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
    ids=["case 1", "case 2", "case 3", "case 6"],
)
def test_the_keyed_hash_gives_the_vectors_of_rfc_4231(key: bytes, data: bytes, digest: str) -> None:
    keyed = _KeyedHash(key)
    assert [keyed.digest(data).hex() for _ in range(2)] == [digest, digest]


@given(key=st.binary(max_size=200), data=st.binary(max_size=1000))
def test_the_keyed_hash_is_the_hmac_of_the_standard_library(key: bytes, data: bytes) -> None:
    assert _KeyedHash(key).digest(data) == hmac.digest(key, data, "sha256")


@pytest.mark.process
def test_a_forked_worker_does_not_repeat_the_nonces_of_its_siblings() -> None:
    program = """
import os
from tests.support.links import signed
for _ in range(3):
    if os.fork() == 0:
        os.write(1, signed().value("signature-input").encode() + b"\\n")
        os._exit(0)
    os.wait()
os.write(1, signed().value("signature-input").encode())
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)  # noqa: S603 - our own program
    assert len({nonce_of(line) for line in ran.stdout.splitlines()}) == 4


@pytest.mark.process
def test_the_package_imports_with_the_standard_library_alone() -> None:
    program = f"import sys; sys.path.append({str(ROOT / 'trust')!r}); import lockgate_trust; print(sorted(sys.modules))"
    command = [sys.executable, "-I", "-S", "-c", program]
    ran = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 - our own program
    assert "lockgate_trust.signature" in ran.stdout
    assert "'lockgate'" not in ran.stdout
