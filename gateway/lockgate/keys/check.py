"""Looks over a folder of keys: everything that is wrong with it, not only the first thing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lockgate.errors import ConfigurationError
from lockgate.keys import keyring, states
from lockgate.keys.files import LINKS_FOLDER, SIGNING_FOLDER, read_private
from lockgate.keys.states import Entry, State
from lockgate.keys.store import Group, KeyStore
from lockgate_trust import LinkKeyError, LinkKeys


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check has found. Names files and ids, never a secret.

    Attributes:
        problems: with these a gateway does not start, or a running one keeps its old keys; or others can read keys.
        hints: what is left to do.
    """

    problems: tuple[str, ...]
    hints: tuple[str, ...]


def check(store: KeyStore, now: float, others: Iterable[Path] = ()) -> Findings:
    """Look at modes, formats, states, strengths and ids of everything in the folder.

    Args:
        store: the folder.
        now: Unix seconds.
        others: files with private keys that are elsewhere; their owner and mode are looked at.
    """
    problems = [*_open_folders(store.directory), *_ring_problems(store)]
    for path in others:
        problems += _told(lambda path=path: read_private(path))  # type: ignore[misc]  # bound for the loop
    hints: list[str] = list(_stray_files(store))
    seen: set[str] = set()
    for group in store.groups():
        try:
            entries = store.read(group)
        except ConfigurationError as error:
            problems.append(str(error))
            continue
        problems += _order_problems(group, entries)
        problems += [
            f"{group.path}: the id {entry.key_id} is used elsewhere" for entry in entries if entry.key_id in seen
        ]
        seen |= {entry.key_id for entry in entries}
        hints += _due_problems(group, entries, now)
    problems += _link_problems(store)
    return Findings(tuple(dict.fromkeys(problems)), tuple(hints))


def _open_folders(directory: Path) -> Iterator[str]:
    for folder in (directory, directory / SIGNING_FOLDER, directory / LINKS_FOLDER):
        # Others may look at the names in it (a folder of the project), but not put files into it.
        if folder.exists() and folder.stat().st_mode & 0o022:
            yield f"{folder}: others may write to it; `chmod 700` it"


def _ring_problems(store: KeyStore) -> Iterator[str]:
    # As a gateway reads it, and then each key by itself, so that a second bad one is told too.
    yield from _told(lambda: keyring.load(store.directory))
    group = store.signing()
    try:
        entries = store.read(group)
    except ConfigurationError:
        return
    for entry in entries:
        path = store.directory / SIGNING_FOLDER / f"{entry.key_id}.pem"
        yield from _told(lambda path=path: keyring.load_signing_key(path))  # type: ignore[misc]  # bound for the loop
    yield from _told(lambda: keyring.load_secrets(store.directory))


def _told(read: Callable[[], object]) -> Iterator[str]:
    try:
        read()
    except ConfigurationError as error:
        yield str(error)


def _order_problems(group: Group, entries: tuple[Entry, ...]) -> Iterator[str]:
    if group.id_member == "id" and entries[0].state is not State.ACTIVE:
        yield f"{group.path}: the first key signs, and is not the active one"
    secrets = [entry.members.get("secret") for entry in entries if "secret" in entry.members]
    if len(set(secrets)) != len(secrets):
        yield f"{group.path}: a secret is listed twice"


def _link_problems(store: KeyStore) -> Iterator[str]:
    folder = store.directory / LINKS_FOLDER
    for name in sorted({end for path in folder.glob("*--*.json") for end in path.stem.split("--", 1)}):
        try:
            LinkKeys.load(folder, name)
        except LinkKeyError as error:
            yield str(error)


def _stray_files(store: KeyStore) -> Iterator[str]:
    try:
        listed = {entry.key_id for entry in store.read(store.signing())}
    except ConfigurationError:
        return
    for path in sorted((store.directory / SIGNING_FOLDER).glob("*.pem")):
        if path.stem not in listed:
            yield f"{path}: a private key that {store.signing().path.name} does not list; delete it"


def _due_problems(group: Group, entries: tuple[Entry, ...], now: float) -> Iterator[str]:
    for entry in entries:
        if entry.state is State.NEXT and now >= entry.since + group.timing.publish_s:
            yield f"{group.name}: key {entry.key_id} may be activated; run `lockgate keys rotate`"
    if len(states.retire(entries, group.timing, now)) < len(entries):
        yield f"{group.name}: passive keys are over; run `lockgate keys retire`"
