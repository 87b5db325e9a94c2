"""The key ring: which keys sign access tokens, and which verify them.

On disk (`keys/`, see its README):

    ring.json              {"keys": [{"kid", "alg", "state"}]}; exactly one is "active" and signs
    signing/<kid>.pem      private keys, PKCS #8, mode 0600
    refresh.json           {"keys": [{"id", "secret"}]}; the first makes refresh tokens, each checks them
    links/                 link keys, see `trust.keys`
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.errors import ConfigurationError

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

MIN_RSA_BITS: Final = 2048
MIN_RSA_EXPONENT: Final = 65537
MIN_SECRET_BYTES: Final = 32
ACTIVE: Final = "active"
STATES: Final = frozenset({"next", ACTIVE, "passive"})
"""What a listed key may be. All of them verify, `active` signs; a key that shall verify no longer is not listed."""
RING_FILE: Final = "ring.json"
REFRESH_FILE: Final = "refresh.json"


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
    for entry in _entries(path):
        key = _load_signing_key(directory / "signing" / f"{_member(entry, 'kid', path)}.pem")
        if key.kid != entry["kid"] or key.alg != entry.get("alg"):
            raise ConfigurationError(f"{path}: an entry does not fit its key file")
        if key.kid in signing:
            raise ConfigurationError(f"{path}: a key is listed twice")
        signing[key.kid] = key
        if _member(entry, "state", path) not in STATES:
            raise ConfigurationError(f"{path}: the state of a key is one of {', '.join(sorted(STATES))}")
        if entry["state"] == ACTIVE:
            if active is not None:
                raise ConfigurationError(f"{path}: two keys are active")
            active = key
    if active is None:
        raise ConfigurationError(f"{path}: no key is active")
    verifying = {
        kid: VerificationKey(kid=kid, alg=key.alg, public=key.private.public_key()) for kid, key in signing.items()
    }
    return KeyRing(active=active, verifying=MappingProxyType(verifying), refresh_secrets=_load_secrets(directory))


def create(directory: Path) -> bool:
    """Make a key ring where there is none: one EdDSA key, active, and one secret for refresh tokens.

    Several processes may call this at once; one of them makes the ring and the others keep it.

    Returns:
        Whether something was made.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    made = False
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(directory):
            if not (directory / RING_FILE).exists():
                key = _generate_ed25519()
                (directory / "signing").mkdir(mode=0o700, exist_ok=True)
                _write_private(directory / "signing" / f"{key.kid}.pem", _pem(key.private))
                ring = {"keys": [{"kid": key.kid, "alg": key.alg, "state": ACTIVE}]}
                _write_private(directory / RING_FILE, json.dumps(ring, indent=2).encode())
                made = True
            if not (directory / REFRESH_FILE).exists():
                secret = base64.urlsafe_b64encode(secrets.token_bytes(MIN_SECRET_BYTES)).rstrip(b"=").decode()
                content = {"keys": [{"id": secrets.token_hex(4), "secret": secret}]}
                _write_private(directory / REFRESH_FILE, json.dumps(content, indent=2).encode())
                made = True
    except OSError as error:
        raise ConfigurationError(f"{directory}: keys cannot be written ({error.strerror})") from error
    return made


def thumbprint(key: PublicKey) -> str:
    """The `kid` of a key: SHA-256 over its DER SubjectPublicKeyInfo, base64url, 22 characters (128 bit)."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()[:16]).rstrip(b"=").decode()


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
        if key.public_numbers().e >= MIN_RSA_EXPONENT:
            return "RS256"
        raise ValueError("the public exponent is too small")
    raise ValueError("only Ed25519, P-256 and RSA of at least 2048 bits are accepted")


def _generate_ed25519() -> SigningKey:
    private = ed25519.Ed25519PrivateKey.generate()
    return SigningKey(kid=thumbprint(private.public_key()), alg="EdDSA", private=private)


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_signing_key(path: Path) -> SigningKey:
    try:
        private = serialization.load_pem_private_key(_read_private(path), password=None)
        if not isinstance(private, PrivateKey):
            raise ValueError("not a signature key")  # noqa: TRY004, TRY301 - one answer for every unusable key
        public = private.public_key()
        return SigningKey(kid=thumbprint(public), alg=algorithm_of(public), private=private)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path}: not a usable private key") from error


def _load_secrets(directory: Path) -> tuple[bytes, ...]:
    path = directory / REFRESH_FILE
    found = []
    for entry in _entries(path):
        text = _member(entry, "secret", path)
        try:
            secret = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError as error:
            raise ConfigurationError(f"{path}: a secret is not base64url") from error
        if len(secret) < MIN_SECRET_BYTES:
            raise ConfigurationError(f"{path}: a secret is shorter than {MIN_SECRET_BYTES} bytes")
        found.append(secret)
    return tuple(found)


def _entries(path: Path) -> list[dict[str, object]]:
    try:
        content = json.loads(_read_private(path))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not JSON") from error
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError(f"{path}: holds no keys")
    return entries


def _member(entry: dict[str, object], name: str, path: Path) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value or "/" in value:
        raise ConfigurationError(f"{path}: an entry has no valid {name!r}")
    return value


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigurationError(f"{path}: readable by others; `chmod 600` it")
            return file.read()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error


def _write_private(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
