"""Tokens for every system: each gets those of its own kind, all alike in claims and length."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt import api_jwt

from lockgate.clock import SystemClock
from lockgate.identity.issuer import Issuer, Subject
from lockgate.keys import keyring
from lockgate.keys.current import Current

ISSUER: Final = "http://127.0.0.1:8080"
AUDIENCE: Final = "lockgate"
LIFE_S: Final = 3600
"""Longer than any run."""
ROLES: Final = ("customer",)
SCOPES: Final = ("orders:read", "orders:write")
_MANY: Final = 10_000
"""Tokens that one process signs in one piece."""
RSA_BITS: Final = 2048
HEADER: Final = {"typ": "at+jwt", "kid": "bench"}


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """The keys that the other gateways verify with.

    Attributes:
        public_pem: file with the RS256 public key.
        jwks: the same key as a JSON Web Key Set.
        secret: of HS256, as text.
    """

    private: rsa.RSAPrivateKey
    public_pem: Path
    jwks: str
    secret: str

    @classmethod
    def create(cls, folder: Path) -> PeerKeys:
        """Make keys; the public one is written into the folder."""
        private = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        public = private.public_key()
        pem = folder / "public.pem"
        pem.write_bytes(
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        numbers = public.public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "bench", "n": _text(numbers.n), "e": _text(numbers.e)}
        return cls(private, pem, json.dumps({"keys": [key]}), secrets.token_hex(32))


def own(count: int, keys: Path, start: int = 0) -> list[str]:
    """Access tokens as Lockgate issues them: one user, session and token each; users count from `start`."""
    ring = keyring.load(keys)
    issuer = Issuer(Current(ring), issuer=ISSUER, audience=AUDIENCE, life_s=LIFE_S, clock=SystemClock())
    return [issuer.issue(_subject(number)) for number in range(start, start + count)]


def write_own(path: Path, count: int, keys: Path) -> None:
    """Save access tokens as Lockgate issues them, one a line, all of one length; signed on all cores."""
    if count < _MANY:
        write(path, own(count, keys))
        return
    with ProcessPoolExecutor() as pool, path.open("w") as file:
        parts = pool.map(_own_part, [(start, min(start + _MANY, count), keys) for start in range(0, count, _MANY)])
        for part in parts:
            file.write(part)


def _own_part(part: tuple[int, int, Path]) -> str:
    start, end, keys = part
    return "".join(f"{token}\n" for token in own(end - start, keys, start))


def rs256(count: int, keys: PeerKeys) -> list[str]:
    """The same claims, signed with RS256."""
    return _signed(count, lambda claims: api_jwt.encode(claims, keys.private, "RS256", HEADER))


def hs256(count: int, keys: PeerKeys) -> list[str]:
    """The same claims, signed with HS256."""
    return _signed(count, lambda claims: api_jwt.encode(claims, keys.secret, "HS256", HEADER))


def write(path: Path, tokens: list[str]) -> Path:
    """Save tokens, one a line."""
    path.write_text("".join(f"{token}\n" for token in tokens))
    return path


def name_user(number: int) -> str:
    """The user of a token; all names have one length, and so have all tokens."""
    return f"user-{number:07}"


def _subject(number: int) -> Subject:
    return Subject(
        sub=name_user(number),
        sid=f"session-{number:07}",
        client_id="lockgate-login",
        epoch=0,
        roles=ROLES,
        scopes=SCOPES,
        auth_time=int(time.time()),
        amr=("pwd",),
    )


def _signed(count: int, sign: Callable[[dict[str, object]], str]) -> list[str]:
    now = int(time.time())
    return [
        sign(
            {
                "iss": ISSUER,
                "aud": AUDIENCE,
                "sub": name_user(number),
                "client_id": "lockgate-login",
                "iat": now,
                "exp": now + LIFE_S,
                "jti": secrets.token_urlsafe(16),
                "sid": f"session-{number:07}",
                "scope": " ".join(SCOPES),
                "roles": list(ROLES),
                "epoch": 0,
                "auth_time": now,
                "amr": ["pwd"],
            }
        )
        for number in range(count)
    ]


def _text(number: int) -> str:
    size = (number.bit_length() + 7) // 8
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()
