from __future__ import annotations

from collections.abc import Mapping

import pytest

from lockgate.keys import keyring
from lockgate.keys.keyring import KeyRing, PrivateKey
from tests.support.clock import ManualClock
from tests.support.signers import Gate, Signer, generate, write_ring

ALGORITHMS = ("EdDSA", "ES256", "RS256")


@pytest.fixture(scope="session")
def private_keys() -> Mapping[str, PrivateKey]:
    """One key for each algorithm."""
    return {alg: generate(alg) for alg in ALGORITHMS}


@pytest.fixture(scope="session")
def ring(private_keys: Mapping[str, PrivateKey], tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    """A ring with all of them, read from files."""
    return keyring.load(write_ring(tmp_path_factory.mktemp("keys"), private_keys))


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
