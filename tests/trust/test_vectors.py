"""The vectors of `trust/vectors.json`, which verifiers in any language have to pass (R-311)."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import pytest

from lockgate_trust import LinkKey, LinkKeys, Refused, SignatureRefused, Verified, body_refused, verify
from tests.support import trust_vectors

DOCUMENT: Final[dict[str, Any]] = json.loads(trust_vectors.FILE.read_text())
KEYS: Final = LinkKeys.from_keys(
    DOCUMENT["me"],
    [
        LinkKey(key["id"], key["origin"], key["target"], base64.urlsafe_b64decode(key["secret"] + "="))
        for key in DOCUMENT["keys"]
    ],
)


def outcome_of(vector: dict[str, Any]) -> Verified | SignatureRefused:
    outcome = verify(
        KEYS,
        method=vector["method"],
        path=vector["path"],
        query=vector["query"],
        headers=[(name, value) for name, value in vector["headers"]],
        now=vector.get("now", DOCUMENT["now"]),
        leeway_s=DOCUMENT["leeway_s"],
    )
    if isinstance(outcome, SignatureRefused) or not {"body", "zeros"} & vector.keys():
        return outcome
    return body_refused(outcome, bytes(vector.get("zeros", 0)) or base64.b64decode(vector["body"])) or outcome


@pytest.mark.parametrize("vector", DOCUMENT["vectors"], ids=lambda vector: vector["name"])
def test_r311_each_vector_has_its_outcome(vector: dict[str, Any]) -> None:
    """R-321: also with headers of names that the signer chose."""
    outcome = outcome_of(vector)
    if isinstance(outcome, SignatureRefused):
        assert {"reason": outcome.reason, "about": outcome.about} == vector["refused"]
        return
    caller = outcome.caller
    told = {name: getattr(caller, name) for name in vector["accepted"]["caller"]}
    told |= {"roles": sorted(caller.roles), "scopes": sorted(caller.scopes)}
    more = {"further": outcome.further} if outcome.further else {}
    assert {"body": outcome.body, "caller": told, **more} == vector["accepted"]


def test_the_file_is_what_its_maker_writes() -> None:
    assert trust_vectors.FILE.read_text() == trust_vectors.as_text(trust_vectors.document())


def test_each_reason_of_a_signature_has_a_vector() -> None:
    """The others need more than one request, or a memory."""
    told = {vector["refused"]["reason"] for vector in DOCUMENT["vectors"] if "refused" in vector}
    assert {reason.value for reason in Refused} - told == {"replayed", "replay_memory_full"}
