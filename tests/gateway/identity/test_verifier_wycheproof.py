"""The public vectors of Wycheproof for JWS, JWK, Ed25519 and ES256, run against `Verifier.verify` and `is_signed`.

The vectors are not part of this project. They are read from the folder that WYCHEPROOF names, or else from
`../shared/wycheproof` beside the project.

No vector is an access token (none has a `typ`), so none is let in. But the verifier looks at the type after the
signature: `TOKEN_WRONG_TYPE` says that format, key, algorithm and signature were all found good.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK, get_unverified_header
from jwt.algorithms import get_default_algorithms
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError

from lockgate.errors import Reason, Refusal
from lockgate.identity.signature import is_signed
from lockgate.keys.keyring import KeyRing, PublicKey, SigningKey, VerificationKey, algorithm_of
from tests.support.clock import ManualClock
from tests.support.signers import Gate, generate

FOLDER: Final = Path(os.environ.get("WYCHEPROOF", Path(__file__).parents[4] / "shared" / "wycheproof")).resolve()
ANOTHER_ALGORITHM: Final = "R-01: only EdDSA, ES256 and RS256 are allowed"
SYMMETRIC: Final = "R-03: no symmetric algorithm can be reached"
NOTHING_SIGNED: Final = "R-08: three parts, none of them empty"
NO_USE: Final = "accepted: keys come from our ring, which has no `use` that could contradict; every key in it verifies"
A_JWE: Final = "R-08: a JWE has five parts"
OTHER_VERDICTS: Final[dict[str, dict[int, str]]] = {
    "json_web_signature_test.json": {
        1: SYMMETRIC,
        259: NOTHING_SIGNED,
        264: ANOTHER_ALGORITHM,
        265: ANOTHER_ALGORITHM,
        266: ANOTHER_ALGORITHM,
        267: ANOTHER_ALGORITHM,
        268: ANOTHER_ALGORITHM,
        269: ANOTHER_ALGORITHM,
        270: ANOTHER_ALGORITHM,
        271: ANOTHER_ALGORITHM,
        272: ANOTHER_ALGORITHM,
        273: ANOTHER_ALGORITHM,
        274: ANOTHER_ALGORITHM,
        275: ANOTHER_ALGORITHM,
        287: ANOTHER_ALGORITHM,
        288: ANOTHER_ALGORITHM,
        320: ANOTHER_ALGORITHM,
        321: ANOTHER_ALGORITHM,
        322: ANOTHER_ALGORITHM,
        323: ANOTHER_ALGORITHM,
        325: ANOTHER_ALGORITHM,
        326: ANOTHER_ALGORITHM,
        327: ANOTHER_ALGORITHM,
        328: ANOTHER_ALGORITHM,
        346: ANOTHER_ALGORITHM,
        347: ANOTHER_ALGORITHM,
        348: SYMMETRIC,
        350: ANOTHER_ALGORITHM,
        351: ANOTHER_ALGORITHM,
        352: SYMMETRIC,
        357: SYMMETRIC,
        358: SYMMETRIC,
        359: SYMMETRIC,
        372: SYMMETRIC,  # and R-08: it has a character that is not of base64url
        373: SYMMETRIC,  # the same
        376: SYMMETRIC,
        377: SYMMETRIC,
    },
    "json_web_key_test.json": {2: SYMMETRIC, 13: SYMMETRIC, 14: SYMMETRIC, 15: SYMMETRIC, 21: NO_USE},
    "json_web_crypto_test.json": {1: SYMMETRIC, 48: SYMMETRIC, 50: A_JWE, 67: A_JWE},
}
"""Vectors on which we differ from Wycheproof, with the reason: it calls all of them valid, but for `NO_USE`."""
SIGNATURES: Final = {"ed25519_test.json": "EdDSA", "ecdsa_secp256r1_sha256_p1363_test.json": "ES256"}
"""Vectors of bare signatures, in the form that JWS has, by their algorithm."""


@pytest.mark.foreign_data
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the Wycheproof vectors are not there: {FOLDER}")
@pytest.mark.parametrize("name", OTHER_VERDICTS)
def test_each_vector_is_judged_as_wycheproof_does_but_for_the_listed_ones(name: str) -> None:
    content = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    different, judged = set(), 0
    for group in content["testGroups"]:
        gate = Gate(_ring(group.get("public") or group["private"]), ManualClock())
        for vector in group["tests"]:
            judged += 1
            if _signature_holds(gate, vector) != (vector["result"] == "valid"):
                different.add(vector["tcId"])
    assert judged == content["numberOfTests"]
    assert different == set(OTHER_VERDICTS[name])


@pytest.mark.foreign_data
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the Wycheproof vectors are not there: {FOLDER}")
@pytest.mark.parametrize("name", SIGNATURES)
def test_each_signature_is_judged_as_wycheproof_and_pyjwt_do(name: str) -> None:
    content = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    alg, judged = SIGNATURES[name], 0
    by_pyjwt = get_default_algorithms()[alg]
    for group in content["testGroups"]:
        public = load_pem_public_key(group["publicKeyPem"].encode())
        assert isinstance(public, PublicKey)
        key = VerificationKey("unused", alg, public)
        for vector in group["tests"]:
            judged += 1
            message, signature = bytes.fromhex(vector["msg"]), bytes.fromhex(vector["sig"])
            verdict = is_signed(key, message, signature)
            assert verdict == (vector["result"] == "valid") == by_pyjwt.verify(message, key.public, signature), vector
    assert judged == content["numberOfTests"]


def _signature_holds(gate: Gate, vector: dict[str, Any]) -> bool:
    text = vector["jws"] if "jws" in vector else vector["jwe"]
    outcome = gate.judge(text if isinstance(text, str) else json.dumps(text))
    assert isinstance(outcome, Refusal), "no vector is an access token"
    holds = outcome.reason is Reason.TOKEN_WRONG_TYPE
    if holds or outcome.reason is Reason.TOKEN_BAD_SIGNATURE:
        assert holds == _holds_for_pyjwt(gate, text), vector
    return holds


def _holds_for_pyjwt(gate: Gate, text: str) -> bool:
    key = gate.keys.value.verifying[get_unverified_header(text)["kid"]]
    try:
        PyJWS(algorithms=[key.alg]).decode(text, key.public, algorithms=[key.alg])
    except PyJWTError:
        return False
    return True


def _ring(jwk: dict[str, Any]) -> KeyRing:
    """A ring of the public keys that our key ring would have taken, with the vector's own key ids."""
    keys = {}
    for member in jwk.get("keys", [jwk]):
        key = _verification_key(member)
        if key is not None:
            keys[key.kid] = key
    return KeyRing(
        active=SigningKey(kid="unused", alg="EdDSA", private=generate("EdDSA")),
        verifying=MappingProxyType(keys),
        refresh_secrets=(),
    )


def _verification_key(jwk: dict[str, Any]) -> VerificationKey | None:
    """As `keyring.load`: the key has to be of a kind and strength that is taken, and to fit the listed algorithm."""
    public = {name: value for name, value in jwk.items() if name not in {"d", "p", "q", "dp", "dq", "qi"}}
    try:
        key = PyJWK(public).key
        alg = algorithm_of(key)
    except (PyJWTError, ValueError):
        return None
    return VerificationKey(kid=jwk["kid"], alg=alg, public=key) if jwk.get("alg") == alg else None
