"""The public JWS and JWK vectors of Wycheproof, run against `Verifier.verify`.

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
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from lockgate.errors import Reason, Refusal
from lockgate.keys.keyring import KeyRing, SigningKey, VerificationKey, algorithm_of
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


def _signature_holds(gate: Gate, vector: dict[str, Any]) -> bool:
    text = vector["jws"] if "jws" in vector else vector["jwe"]
    outcome = gate.judge(text if isinstance(text, str) else json.dumps(text))
    assert isinstance(outcome, Refusal), "no vector is an access token"
    return outcome.reason is Reason.TOKEN_WRONG_TYPE


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
