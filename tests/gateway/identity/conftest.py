from __future__ import annotations

from collections.abc import Mapping

import pytest

from lockgate.keys.keyring import KeyRing, PrivateKey
from tests.support.clock import ManualClock
from tests.support.rings import ALGORITHMS, private_keys, ring
from tests.support.signers import Gate, Signer

__all__ = ["clock", "each_signer", "gate", "private_keys", "ring", "signer"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def signer(ring: KeyRing, private_keys: Mapping[str, PrivateKey], clock: ManualClock) -> Signer:
    """Signs with the ring's Ed25519 key."""
    return Signer(ring, private_keys["EdDSA"], "EdDSA", clock)


@pytest.fixture(params=ALGORITHMS)
def each_signer(
    request: pytest.FixtureRequest, ring: KeyRing, private_keys: Mapping[str, PrivateKey], clock: ManualClock
) -> Signer:
    """Signs with each key of the ring in turn."""
    return Signer(ring, private_keys[request.param], request.param, clock)


@pytest.fixture
def gate(ring: KeyRing, clock: ManualClock) -> Gate:
    return Gate(ring, clock)
