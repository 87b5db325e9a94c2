"""Keys on disk: R-14, R-160, R-162, R-165."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lockgate.cli import keys
from lockgate.errors import ConfigurationError
from lockgate.keys import check, keyring
from lockgate.keys.states import State, StepKind, active
from lockgate.keys.store import Group, KeyStore
from lockgate.settings import Settings
from lockgate_trust import LinkKeys
from tests.support.clock import ManualClock
from tests.support.signers import pem, write_private

NOW = ManualClock().now()
PUBLISH_S = 300
KEPT_S = {"signing": 300 + 30 + 300, "refresh": 30 * 86_400 + 30 + 300, "gateway -> users": 10 + 30 + 300}
"""Life, three leeways, publish delay."""
"""What the keys have made lives, and a node may be late and its clock wrong."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def store(folder: Path) -> KeyStore:
    """A folder as `lockgate keys init` makes it, with one link."""
    settings = Settings(keys={"directory": folder})  # type: ignore[arg-type]  # as in the configuration file
    keyring.create(folder, clock=ManualClock(NOW - 100_000))
    keys.create_missing(settings)
    return KeyStore(settings)


def group_of(store: KeyStore, name: str) -> Group:
    return next(group for group in store.groups() if group.name == name)


def ids(store: KeyStore, group: Group) -> dict[str, State]:
    return {entry.key_id: entry.state for entry in store.read(group)}


def problems(store: KeyStore) -> tuple[str, ...]:
    return check.check(store, NOW).problems


def content(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text())
    assert isinstance(document, dict)
    return document


def change(path: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    """Edit the list of keys as an operator does by hand."""
    document = content(path)
    edit(document["keys"])
    write_private(path, json.dumps(document).encode())


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("name", ["signing", "refresh", "gateway -> users"])
def test_every_kind_of_key_goes_through_its_states_and_is_gone_at_the_end(store: KeyStore, name: str) -> None:
    group = group_of(store, name)
    (old,) = ids(store, group)
    new = store.rotate(group, NOW).key_id
    assert ids(store, group) == {old: State.ACTIVE, new: State.NEXT}
    assert store.rotate(group, NOW + PUBLISH_S - 1).did is StepKind.WAITING
    switched = NOW + PUBLISH_S
    assert store.rotate(group, switched).did is StepKind.ACTIVATED
    assert ids(store, group) == {new: State.ACTIVE, old: State.PASSIVE}
    assert store.retire(group, switched + KEPT_S[name] - 1) == []
    assert store.retire(group, switched + KEPT_S[name]) == [old]
    assert ids(store, group) == {new: State.ACTIVE}
    assert problems(store) == ()


def test_the_gateway_reads_what_each_step_has_written(store: KeyStore, folder: Path) -> None:
    signing, refresh = store.signing(), store.refresh()
    old = keyring.load(folder)
    new = store.rotate(signing, NOW).key_id
    store.rotate(refresh, NOW)
    published = keyring.load(folder)
    assert published.active.kid == old.active.kid
    assert set(published.verifying) == {old.active.kid, new}
    assert published.refresh_secrets[0] == old.refresh_secrets[0]
    assert len(published.refresh_secrets) == 2
    store.rotate(signing, NOW + PUBLISH_S)
    store.rotate(refresh, NOW + PUBLISH_S)
    switched = keyring.load(folder)
    assert switched.active.kid == new
    assert set(switched.verifying) == {old.active.kid, new}
    assert switched.refresh_secrets == published.refresh_secrets[::-1]


def test_both_ends_of_a_link_read_what_each_step_has_written(store: KeyStore, folder: Path) -> None:
    group = group_of(store, "gateway -> users")

    def ends() -> tuple[str, set[str]]:
        origin, target = LinkKeys.load(folder / "links", "gateway"), LinkKeys.load(folder / "links", "users")
        return origin.outbound("users").key_id, {key for key in (old, new) if target.inbound(key)}

    old, new = origin_key(folder), ""
    new = store.rotate(group, NOW).key_id
    assert ends() == (old, {old, new})
    store.rotate(group, NOW + PUBLISH_S)
    assert ends() == (new, {old, new})
    assert store.rotate(group, NOW + PUBLISH_S + KEPT_S[group.name]).did is StepKind.RETIRED
    assert ends() == (new, {new})


def origin_key(folder: Path) -> str:
    return LinkKeys.load(folder / "links", "gateway").outbound("users").key_id


@pytest.mark.parametrize(
    ("alg", "kind"),
    [
        ("EdDSA", ed25519.Ed25519PrivateKey),
        ("ES256", ec.EllipticCurvePrivateKey),
        ("RS256", rsa.RSAPrivateKey),
    ],
)
def test_a_new_key_is_of_the_algorithm_that_was_asked_for(
    store: KeyStore, folder: Path, alg: str, kind: type[keyring.PrivateKey]
) -> None:
    store.rotate(store.signing(), NOW, alg=alg, at_once=True)
    signing = keyring.load(folder).active
    assert signing.alg == alg
    assert isinstance(signing.private, kind)


def test_a_new_key_is_like_the_one_before_where_nobody_says(store: KeyStore, folder: Path) -> None:
    store.rotate(store.signing(), NOW, alg="EdDSA", at_once=True)
    store.rotate(store.signing(), NOW, at_once=True)
    assert keyring.load(folder).active.alg == "EdDSA"


def test_a_published_key_of_another_algorithm_is_not_taken_for_the_one_asked_for(store: KeyStore, folder: Path) -> None:
    store.rotate(store.signing(), NOW, alg="ES256")
    before = listing(folder)
    with pytest.raises(ConfigurationError, match="remove it first"):
        store.rotate(store.signing(), NOW, alg="RS256", at_once=True)
    assert listing(folder) == before


def test_a_removed_key_leaves_no_private_key_behind(store: KeyStore, folder: Path) -> None:
    kid = keyring.load(folder).active.kid
    group, signs = store.remove(kid, NOW)
    ring = keyring.load(folder)
    assert (group.name, ring.active.kid) == ("signing", signs.key_id)
    assert kid not in ring.verifying
    assert [path.stem for path in (folder / "signing").iterdir()] == [signs.key_id]


@pytest.mark.parametrize("name", ["refresh", "gateway -> users"])
def test_a_secret_can_be_removed_in_an_emergency_too(store: KeyStore, name: str) -> None:
    group = group_of(store, name)
    lost = active(store.read(group))
    store.remove(lost.key_id, NOW)
    (left,) = store.read(group)
    assert left.state is State.ACTIVE
    assert left.members["secret"] != lost.members["secret"]
    assert problems(store) == ()


def test_a_broken_file_does_not_keep_a_key_in_another_from_going(store: KeyStore, folder: Path) -> None:
    kid = keyring.load(folder).active.kid
    (folder / "refresh.json").write_bytes(b"{")
    store.remove(kid, NOW)
    assert kid not in ids(store, store.signing())


def test_removing_a_key_that_is_not_there_changes_nothing(store: KeyStore, folder: Path) -> None:
    before = listing(folder)
    with pytest.raises(ConfigurationError, match="no key has the id"):
        store.remove("../ring", NOW)
    assert listing(folder) == before


@pytest.mark.parametrize("name", ["signing", "refresh", "gateway -> users"])
def test_what_is_written_is_for_its_owner_only_whatever_the_umask(store: KeyStore, folder: Path, name: str) -> None:
    before = os.umask(0)
    try:
        store.rotate(group_of(store, name), NOW)
    finally:
        os.umask(before)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert not [path for path in files if path.name.startswith(".") and path.name != ".lock"]


def test_of_many_who_rotate_at_once_one_publishes_a_key_and_the_others_wait(store: KeyStore) -> None:
    signing = store.signing()
    with ThreadPoolExecutor(8) as threads:
        turns = list(threads.map(lambda _: store.rotate(signing, NOW), range(8)))
    assert sorted(turn.did for turn in turns) == [StepKind.PUBLISHED] + [StepKind.WAITING] * 7
    assert len(ids(store, signing)) == 2


def test_a_folder_that_cannot_be_written_is_told_by_its_name(folder: Path, store: KeyStore) -> None:
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()
    with pytest.raises(ConfigurationError, match=r"ring\.json: cannot be written"):
        store.rotate(store.signing(), NOW)


def test_files_written_by_hand_need_no_states_and_no_times(store: KeyStore, folder: Path) -> None:
    path = folder / "refresh.json"
    secrets = [{"id": "1", "secret": keyring.new_secret()}, {"id": "2", "secret": keyring.new_secret()}]
    write_private(path, json.dumps({"keys": secrets}).encode())
    entries = store.read(store.refresh())
    assert [(entry.key_id, entry.state) for entry in entries] == [("1", State.ACTIVE), ("2", State.PASSIVE)]
    # Nothing in the file is younger than the file.
    assert {entry.since for entry in entries} == {path.stat().st_mtime}


def short(entries: list[dict[str, Any]]) -> None:
    entries[0]["secret"] = entries[0]["secret"][:40]


BROKEN: dict[str, tuple[str, Callable[[list[dict[str, Any]]], object], str]] = {
    "no active key": ("ring.json", lambda entries: entries[0].update(state="passive"), "not exactly one key is active"),
    "a state that is none": ("ring.json", lambda entries: entries[0].update(state="asleep"), "the state of a key"),
    "a key twice": ("ring.json", lambda entries: entries.append({**entries[0], "state": "next"}), "listed twice"),
    "another algorithm": ("ring.json", lambda entries: entries[0].update(alg="RS256"), "does not fit its key file"),
    "no private key": ("ring.json", lambda entries: entries[0].update(kid="AAAA"), "AAAA.pem: cannot be read"),
    "a time that is none": ("ring.json", lambda entries: entries[0].update(since="soon"), "is not a time"),
    "a short secret": ("refresh.json", short, "shorter than 32 bytes"),
    "no keys": ("refresh.json", lambda entries: entries.clear(), "holds no keys"),
    "a short link secret": ("links/gateway--users.json", short, "fewer than 32 bytes"),
    "a secret twice": (
        "refresh.json",
        lambda entries: entries.append({**entries[0], "id": "2", "state": "passive"}),
        "a secret is listed twice",
    ),
    "an active key that is not the first": (
        "refresh.json",
        lambda entries: entries.insert(0, {"id": "2", "secret": keyring.new_secret(), "state": "next"}),
        "the first key signs, and is not the active one",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_check_finds(case: str, store: KeyStore, folder: Path) -> None:
    file, edit, complaint = BROKEN[case]
    assert problems(store) == ()
    change(folder / file, edit)
    assert any(complaint in problem for problem in problems(store))


def test_a_check_finds_a_file_that_others_may_read(store: KeyStore, folder: Path) -> None:
    (pem_file,) = (folder / "signing").iterdir()
    for path in (folder / "ring.json", folder / "refresh.json", folder / "links" / "gateway--users.json", pem_file):
        path.chmod(0o640)
        assert any(str(path) in problem for problem in problems(store))
        path.chmod(0o600)
    assert problems(store) == ()


def test_a_check_finds_a_folder_that_others_may_write(store: KeyStore, folder: Path) -> None:
    (folder / "signing").chmod(0o770)
    assert any("others may write" in problem for problem in problems(store))


@pytest.mark.parametrize(
    "weak",
    [
        lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 - weak on purpose
        lambda: ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["RSA of 1024 bits", "P-384"],
)
def test_a_check_finds_weak_keys_all_of_them_and_the_gateway_does_not_start_with_one(
    store: KeyStore, folder: Path, weak: Callable[[], keyring.PrivateKey]
) -> None:
    for name in ("weak1", "weak2"):
        write_private(folder / "signing" / f"{name}.pem", pem(weak()))
    names = [{"kid": name, "alg": "RS256", "state": "passive"} for name in ("weak1", "weak2")]
    change(folder / "ring.json", lambda entries: entries.extend(names))
    assert {"weak1", "weak2"} <= {Path(problem.partition(":")[0]).stem for problem in problems(store)}
    with pytest.raises(ConfigurationError, match="not a usable private key"):
        keyring.load(folder)


def test_a_check_tells_of_a_private_key_that_nobody_lists_and_of_what_is_due(store: KeyStore, folder: Path) -> None:
    write_private(folder / "signing" / "stray.pem", pem(ed25519.Ed25519PrivateKey.generate()))
    store.rotate(store.signing(), NOW)
    found = check.check(store, NOW + PUBLISH_S)
    assert found.problems == ()
    assert any("stray.pem" in hint for hint in found.hints)
    assert any("may be activated" in hint for hint in found.hints)


def test_no_complaint_shows_a_secret(store: KeyStore, folder: Path) -> None:
    secrets = [entry["secret"] for entry in content(folder / "refresh.json")["keys"]]
    (folder / "refresh.json").write_text(f'{{"keys": [{{"id": "1", "secret": "{secrets[0]}"}}')
    with pytest.raises(ConfigurationError) as error:
        keyring.load(folder)
    assert error.value.__cause__ is None
    assert not any(secret in problem for problem in problems(store) for secret in secrets)
