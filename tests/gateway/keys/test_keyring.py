"""R-04, R-14, R-160, R-165: the rules for a key ring on disk, and that a ring is made once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519

from lockgate.errors import ConfigurationError
from lockgate.keys import keyring
from lockgate.keys.jwks import jwks
from lockgate.keys.keyring import KeyRing, PrivateKey
from tests.support.signers import generate, pem, write_private, write_ring

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good ring with one key."""
    return write_ring(tmp_path / "keys", {"EdDSA": generate("EdDSA")})


def test_a_ring_holds_every_listed_key_and_signs_with_the_active_one(ring: KeyRing) -> None:
    """R-162."""
    assert {key.alg for key in ring.verifying.values()} == {"EdDSA", "ES256", "RS256"}
    assert ring.active.alg == "EdDSA"
    assert ring.active.kid in ring.verifying


def test_no_secret_shows_when_a_ring_is_printed(ring: KeyRing) -> None:
    """R-165"""
    shown = repr(ring) + repr(ring.active)
    assert "PrivateKey" not in shown
    assert "refresh_secrets" not in shown


def test_the_key_set_has_public_members_only(ring: KeyRing) -> None:
    """R-160"""
    keys = jwks(ring)["keys"]
    shared = {"kty", "kid", "alg", "use"}
    members = {key["alg"]: set(key) - shared for key in keys}
    assert members == {"EdDSA": {"crv", "x"}, "ES256": {"crv", "x", "y"}, "RS256": {"n", "e"}}
    assert all(key["use"] == "sig" for key in keys)
    assert len({key["kid"] for key in keys}) == len(keys)


def test_a_new_ring_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    """R-165"""
    folder = tmp_path / "deep" / "keys"
    assert keyring.create(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_new_ring_is_for_the_algorithm_that_every_library_knows(tmp_path: Path) -> None:
    assert keyring.create(tmp_path)
    assert keyring.load(tmp_path).active.alg == "ES256"


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_a_ring_stays_what_it_is(tmp_path: Path, alg: str) -> None:
    assert keyring.create(tmp_path, alg)
    assert not keyring.create(tmp_path)
    assert keyring.load(tmp_path).active.alg == alg


def test_a_ring_that_is_there_is_kept(tmp_path: Path) -> None:
    assert keyring.create(tmp_path)
    before = keyring.load(tmp_path)
    assert not keyring.create(tmp_path)
    after = keyring.load(tmp_path)
    assert after.active.kid == before.active.kid
    assert after.refresh_secrets == before.refresh_secrets


@pytest.mark.process
def test_of_several_processes_one_makes_the_ring(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    script = "import sys; from pathlib import Path; from lockgate.keys import keyring; sys.stdin.read(1);"
    script += "print(keyring.create(Path(sys.argv[1])), keyring.load(Path(sys.argv[1])).active.kid)"
    makers = [
        subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-c", script, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for maker in makers:  # they all wait for this, ready to go
        assert maker.stdin is not None
        maker.stdin.write("x")
        maker.stdin.flush()
    said = [maker.communicate(timeout=30)[0].split() for maker in makers]
    assert sorted(made for made, _ in said) == ["False"] * 5 + ["True"]
    assert len({kid for _, kid in said}) == 1
    assert len(list((folder / "signing").iterdir())) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o644, 0o610])
@pytest.mark.parametrize("name", ["ring.json", "refresh.json", "signing/*.pem"])
def test_a_file_that_others_may_open_is_refused(folder: Path, name: str, mode: int) -> None:
    """R-165"""
    (path,) = folder.glob(name)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=re.escape(str(path))):
        keyring.load(folder)


@pytest.mark.parametrize("name", ["ring.json", "refresh.json", "signing/*.pem"])
def test_a_file_that_is_missing_is_named(folder: Path, name: str) -> None:
    """R-165: nothing starts without its keys."""
    (path,) = folder.glob(name)
    path.unlink()
    with pytest.raises(ConfigurationError, match=re.escape(str(path))):
        keyring.load(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1]}',
        b'{"keys": [{}]}',
        b'{"keys": [{"kid": 1, "secret": 1}]}',
        b'{"keys": [{"kid": "../../etc/passwd", "secret": "../x"}]}',
        b'{"keys": [{"kid": "a\\u0000b", "secret": "a\\u0000b"}]}',
        b'{"keys": [{"kid": "nobody", "secret": "short"}]}',
        b'{"keys": [{"kid": "", "secret": ""}]}',
        b"[" * 100_000,
    ],
    ids=lambda content: content[:60].decode("latin-1"),
)
@pytest.mark.parametrize("name", ["ring.json", "refresh.json"])
def test_a_broken_file_is_one_clear_error_that_names_it(folder: Path, name: str, content: bytes) -> None:
    """R-04, R-165: a short or empty secret included."""
    write_private(folder / name, content)
    with pytest.raises(ConfigurationError) as caught:
        keyring.load(folder)
    text = str(caught.value)
    assert name in text or "nobody.pem" in text or "a\0b.pem" in text
    assert "\n" not in text


def test_a_secret_of_31_bytes_is_too_short(folder: Path) -> None:
    """R-04"""
    write_private(folder / "refresh.json", json.dumps({"keys": [{"id": "1", "secret": "A" * 42}]}).encode())
    with pytest.raises(ConfigurationError, match="shorter than 32 bytes"):
        keyring.load(folder)


def _listed(folder: Path, change: Callable[[list[dict[str, object]]], None]) -> None:
    path = folder / "ring.json"
    content = json.loads(path.read_bytes())
    change(content["keys"])
    write_private(path, json.dumps(content).encode())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda keys: keys[0].update(state="passive"), "no key is active"),
        (lambda keys: keys[0].update(state="actve"), "state"),
        (lambda keys: keys[0].update(state="removed"), "state"),
        (lambda keys: keys[0].pop("state"), "state"),
        (lambda keys: keys[0].update(alg="HS256"), "does not fit its key file"),
        (lambda keys: keys[0].update(alg="ES256"), "does not fit its key file"),
        (lambda keys: keys[0].pop("alg"), "does not fit its key file"),
        (lambda keys: keys.append({**keys[0], "state": "passive"}), "listed twice"),
    ],
    ids=["none is active", "misspelt", "removed", "no state", "HS256", "another alg", "no alg", "twice"],
)
def test_a_ring_that_contradicts_itself_is_refused(
    folder: Path, change: Callable[[list[dict[str, object]]], None], said: str
) -> None:
    """R-01, R-14, R-162"""
    _listed(folder, change)
    with pytest.raises(ConfigurationError, match=said) as caught:
        keyring.load(folder)
    assert "ring.json" in str(caught.value)


def test_one_key_signs_and_not_two(private_keys: Mapping[str, PrivateKey], tmp_path: Path) -> None:
    """R-162"""
    folder = write_ring(tmp_path, {alg: private_keys[alg] for alg in ("EdDSA", "ES256")})
    _listed(folder, lambda keys: keys[1].update(state="active"))
    with pytest.raises(ConfigurationError, match="two keys are active"):
        keyring.load(folder)


def _weak_keys() -> Mapping[str, bytes]:
    return {
        "RSA of 1024 bits": _pkcs8(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - what is to be refused
        "RSA with exponent 3": _pkcs8(rsa.generate_private_key(3, 2048)),
        "P-384": _pkcs8(ec.generate_private_key(ec.SECP384R1())),
        "secp256k1": _pkcs8(ec.generate_private_key(ec.SECP256K1())),
        "Ed448": _pkcs8(ed448.Ed448PrivateKey.generate()),
        "X25519": _pkcs8(x25519.X25519PrivateKey.generate()),
        "DSA": _pkcs8(dsa.generate_private_key(2048)),
        "a public key": generate("EdDSA")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "a key with a passphrase": generate("EdDSA").private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        ),
        "half a file": pem(generate("EdDSA"))[:60],
        "no PEM": b"x" * 32,
        "nothing": b"",
    }


def _pkcs8(key: dsa.DSAPrivateKey | ed448.Ed448PrivateKey | x25519.X25519PrivateKey | PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_weak_or_strange_key_is_refused_by_the_name_of_its_file(folder: Path) -> None:
    """R-14, R-165: and what is wrong with it is not shown, for it may be the key."""
    (path,) = (folder / "signing").iterdir()
    for kind, content in _weak_keys().items():
        write_private(path, content)
        with pytest.raises(ConfigurationError) as caught:
            keyring.load(folder)
        assert str(caught.value) == f"{path}: not a usable private key", kind


def test_a_key_file_with_another_keys_name_is_refused(folder: Path) -> None:
    """R-14: a kid is the thumbprint of its key."""
    (path,) = (folder / "signing").iterdir()
    write_private(path, pem(generate("EdDSA")))
    with pytest.raises(ConfigurationError, match="does not fit"):
        keyring.load(folder)


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        keyring.create(tmp_path / "keys")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keyring.load(tmp_path / "keys")
