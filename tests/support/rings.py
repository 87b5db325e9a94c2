"""Fixtures of a key ring with one key for each algorithm; a `conftest.py` imports them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lockgate.keys import keyring
from lockgate.keys.keyring import KeyRing, PrivateKey
from tests.support.signers import generate, write_ring

ALGORITHMS = ("EdDSA", "ES256", "RS256")


@pytest.fixture(scope="session")
def private_keys() -> Mapping[str, PrivateKey]:
    """One key for each algorithm."""
    return {alg: generate(alg) for alg in ALGORITHMS}


@pytest.fixture(scope="session")
def ring(private_keys: Mapping[str, PrivateKey], tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    """A ring with all of them, read from files."""
    return keyring.load(write_ring(tmp_path_factory.mktemp("keys"), private_keys))
