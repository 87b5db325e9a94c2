"""The key ring: which keys sign access tokens, and which verify them.

On disk (`keys/`, see its README):

    ring.json              {"keys": [{"kid", "alg", "state", "since"}]}; exactly one is "active" and signs
    signing/<kid>.pem      private keys, PKCS #8, mode 0600
    refresh.json           {"keys": [{"id", "secret", "state", "since"}]}; the first makes refresh tokens, each checks
    links/                 link keys, see `lockgate_trust.keys`

This module reads what a running gateway needs of it; `store` changes it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lockgate.clock import Clock, SystemClock
from lockgate.codec import base64url
from lockgate.errors import ConfigurationError
from lockgate.keys.files import (
    REFRESH_FILE,
    RING_FILE,
    SIGNING_FOLDER,
    as_json,
    entries,
    locked,
    make_folder,
    member,
    read_document,
    read_private,
    timestamp,
    write_private,
)
from lockgate.keys.states import State

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

MIN_RSA_BITS: Final = 2048
MIN_RSA_EXPONENT: Final = 65537
_SMALL_PRIMES: Final = tuple(n for n in range(3, 168, 2) if all(n % divisor for divisor in range(3, n, 2)))
MIN_SECRET_BYTES: Final = 32
ALGORITHMS: Final = ("ES256", "EdDSA", "RS256")
NEW_RING: Final = "ES256"
"""Of the key of a new ring: every JWT library verifies it, and OpenSSL does so in 60 % of the time of Ed25519."""
_RSA_BITS: Final = 3072
"""Of new keys: 128 bit of strength, as the other two kinds have."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, bound to the one algorithm it may be used with (RFC 8725 section 3.1)."""

    kid: str
    alg: str
    public: PublicKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private key that signs, and the algorithm it signs with."""

    kid: str
    alg: str
    private: PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Every key of the gateway's own, as read at one moment.

    Attributes:
        active: signs new access tokens.
        verifying: by `kid`; a token whose `kid` is not in here is not ours.
        refresh_secrets: make (the first) and check (each) refresh tokens; never in Redis.
    """

    active: SigningKey
    verifying: Mapping[str, VerificationKey]
    refresh_secrets: tuple[bytes, ...] = field(repr=False)


def load(directory: Path) -> KeyRing:
    """Read the key ring.

    Raises:
        ConfigurationError: a file is missing, malformed, weak, or readable by others. Names the file only.
    """
    signing: dict[str, SigningKey] = {}
    active: SigningKey | None = None
    path = directory / RING_FILE
    for entry in entries(path, read_document(path)):
        key = load_signing_key(directory / SIGNING_FOLDER / f"{member(entry, 'kid', path)}.pem")
        if key.kid != entry["kid"] or key.alg != entry.get("alg"):
            raise ConfigurationError(f"{path}: an entry does not fit its key file")
        if key.kid in signing:
            raise ConfigurationError(f"{path}: a key is listed twice")
        signing[key.kid] = key
        if member(entry, "state", path) not in list(State):
            raise ConfigurationError(f"{path}: the state of a key is one of {', '.join(sorted(State))}")
        if entry["state"] == State.ACTIVE:
            if active is not None:
                raise ConfigurationError(f"{path}: two keys are active")
            active = key
    if active is None:
        raise ConfigurationError(f"{path}: no key is active")
    verifying = {
        kid: VerificationKey(kid=kid, alg=key.alg, public=key.private.public_key()) for kid, key in signing.items()
    }
    return KeyRing(active=active, verifying=MappingProxyType(verifying), refresh_secrets=load_secrets(directory))


def create(directory: Path, alg: str = NEW_RING, clock: Clock | None = None) -> bool:
    """Make a key ring where there is none: one active key, and one secret for refresh tokens.

    Several processes may call this at once; one of them makes the ring and the others keep it.

    Args:
        directory: made where missing.
        alg: of the key, one of `ALGORITHMS`.
        clock: the time; the machine's where not given.

    Returns:
        Whether something was made.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    now = timestamp((clock or SystemClock()).now())
    made = False
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(directory):
            if not (directory / RING_FILE).exists():
                key = generate(alg)
                write_signing_key(directory, key)
                entry = {"kid": key.kid, "alg": key.alg, "state": State.ACTIVE, "since": now}
                write_private(directory / RING_FILE, as_json({"keys": [entry]}))
                made = True
            if not (directory / REFRESH_FILE).exists():
                secret = {"id": secrets.token_hex(4), "secret": new_secret(), "state": State.ACTIVE, "since": now}
                write_private(directory / REFRESH_FILE, as_json({"keys": [secret]}))
                made = True
    except OSError as error:
        raise ConfigurationError(f"{directory}: keys cannot be written ({error.strerror})") from error
    return made


def thumbprint(key: PublicKey) -> str:
    """The `kid` of a key: SHA-256 over its DER SubjectPublicKeyInfo, base64url, 22 characters (128 bit)."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64url.encode(hashlib.sha256(der).digest()[:16])


def algorithm_of(key: PublicKey) -> str:
    """The one JWS algorithm for a key (RFC 8037, RFC 7518 section 3.1).

    Raises:
        ValueError: the key is of a kind or strength that is not accepted.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "EdDSA"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        numbers = key.public_numbers()
        if numbers.e < MIN_RSA_EXPONENT or _is_roca(numbers.n):
            raise ValueError("the public exponent is too small, or the primes can be guessed")
        return "RS256"
    raise ValueError("only Ed25519, P-256 and RSA of at least 2048 bits are accepted")


def generate(alg: str) -> SigningKey:
    """A new key of one of `ALGORITHMS`.

    Raises:
        ConfigurationError: it is none of them.
    """
    private: PrivateKey
    match alg:
        case "EdDSA":
            private = ed25519.Ed25519PrivateKey.generate()
        case "ES256":
            private = ec.generate_private_key(ec.SECP256R1())
        case "RS256":
            private = rsa.generate_private_key(MIN_RSA_EXPONENT, _RSA_BITS)
        case _:
            raise ConfigurationError(f"keys are made for {', '.join(ALGORITHMS)}")
    return SigningKey(kid=thumbprint(private.public_key()), alg=alg, private=private)


def _is_roca(modulus: int) -> bool:
    """Whether both primes are of the guessable form of CVE-2017-15361: powers of 65537 modulo many small primes."""
    return all(
        modulus % prime in {pow(MIN_RSA_EXPONENT, power, prime) for power in range(prime)} for prime in _SMALL_PRIMES
    )


def new_secret() -> str:
    """A secret for MACs, base64url without padding."""
    return base64url.encode(secrets.token_bytes(MIN_SECRET_BYTES))


def write_signing_key(directory: Path, key: SigningKey) -> None:
    """Write a private key as PKCS #8, for `ring.json` to name.

    Raises:
        OSError: it cannot be written.
    """
    make_folder(directory / SIGNING_FOLDER)
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(directory / SIGNING_FOLDER / f"{key.kid}.pem", pem)


def load_signing_key(path: Path) -> SigningKey:
    """Read one private key.

    Raises:
        ConfigurationError: it cannot be read, may be read by others, or is of a kind or strength that is not accepted.
    """
    try:
        private = serialization.load_pem_private_key(read_private(path), password=None)
        if not isinstance(private, PrivateKey):
            raise ValueError("not a signature key")  # noqa: TRY004, TRY301 - one answer for every unusable key
        public = private.public_key()
        return SigningKey(kid=thumbprint(public), alg=algorithm_of(public), private=private)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path}: not a usable private key") from error


def load_secrets(directory: Path) -> tuple[bytes, ...]:
    """Read the secrets for refresh tokens, the one that makes them first.

    Raises:
        ConfigurationError: the file cannot be read, may be read by others, is malformed, or has a short secret.
    """
    path = directory / REFRESH_FILE
    return tuple(_read_secret(member(entry, "secret", path), path) for entry in entries(path, read_document(path)))


def _read_secret(text: str, path: Path) -> bytes:
    try:
        # Without its padding, which other tools write.
        secret = base64url.decode(text.rstrip("="))
    except base64url.Base64UrlError as error:
        raise ConfigurationError(f"{path}: a secret is not base64url") from error
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigurationError(f"{path}: a secret is shorter than {MIN_SECRET_BYTES} bytes")
    return secret
