"""Changes the keys on disk: one step of a rotation at a time, each written whole.

Three kinds of files, one set of rules (`states`): the signing keys, the secrets of refresh tokens, and the
keys of each link. Running gateways and services notice a changed file by themselves (`reload`, `lockgate_trust.live`).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from lockgate.errors import ConfigurationError, quoted
from lockgate.keys import files, keyring, states
from lockgate.keys.changes import KeyChange, changes
from lockgate.keys.files import LINKS_FOLDER, REFRESH_FILE, RING_FILE, SIGNING_FOLDER
from lockgate.keys.states import Entry, RotationStep, State, Timing
from lockgate.settings import Settings
from lockgate_trust import LIFETIME_S
from lockgate_trust.keys import MAX_KEYS_PER_LINK

SIGNING: Final = "signing"
REFRESH: Final = "refresh"


class Write(Protocol):
    """Writes the keys of a group anew."""

    def __call__(self, after: Sequence[Entry], removed: str | None = None) -> None:
        """Write them; `removed` is the one that goes before its time, if any."""


@dataclass(frozen=True, slots=True)
class Group:
    """The keys of one purpose: one file.

    Attributes:
        name: `signing`, `refresh`, or `origin -> target` of a link.
        path: the file.
        id_member: what it calls a key's id.
        timing: how long the states of its keys last.
        make: a fresh *next* key at a time (Unix seconds); for signing keys of an algorithm.
        forget: what to do once a key is listed no more.
    """

    name: str
    path: Path
    id_member: str
    timing: Timing
    make: Callable[[float, str | None], Entry]
    forget: Callable[[str], None]

    @property
    def is_link(self) -> bool:
        """Whether these are link keys, which two programs hold."""
        return self.name not in {SIGNING, REFRESH}


class KeysFixedError(ConfigurationError):
    """The folder of keys cannot be written from here."""


class KeyStore:
    """The folder of keys, as the commands see it.

    Args:
        settings: say where it is, and how long what keys have signed may live.
        changed: told of each change once it is on disk, in the thread that made it; for the audit trail.
    """

    def __init__(self, settings: Settings, changed: Callable[[KeyChange], None] = lambda _: None) -> None:
        self.directory = settings.keys.directory
        self._changed = changed
        token, publish_s = settings.token, settings.keys.publish_delay_s
        # A worker that has not yet read the file that made a key passive goes on signing with it for up to `publish_s`.
        # What it signs is accepted for its life and two leeways, where the signer's clock is ahead and the verifier's
        # behind; and the clock that made the key passive may be behind the one that ends it.
        still_s = publish_s + 3 * token.leeway_s
        self._signing = Timing(publish_s, still_s + token.access_life_s)
        self._refresh = Timing(publish_s, still_s + token.refresh_absolute_s)
        self._link = Timing(publish_s, still_s + LIFETIME_S, most=MAX_KEYS_PER_LINK)

    def signing(self) -> Group:
        """The keys that sign access tokens."""
        return Group(
            SIGNING, self.directory / RING_FILE, "kid", self._signing, self._make_signing_key, self._forget_signing_key
        )

    def refresh(self) -> Group:
        """The secrets that make and check refresh tokens."""
        return Group(REFRESH, self.directory / REFRESH_FILE, "id", self._refresh, partial(_make_secret, ""), _nothing)

    def links(self) -> list[Group]:
        """The keys of each link whose file is here."""
        groups = []
        for path in sorted((self.directory / LINKS_FOLDER).glob("*--*.json")):
            origin, _, target = path.stem.partition("--")
            make = partial(_make_secret, f"{origin}.{target}.")
            groups.append(Group(f"{origin} -> {target}", path, "id", self._link, make, _nothing))
        return groups

    def groups(self) -> list[Group]:
        """Everything there is."""
        return [self.signing(), self.refresh(), *self.links()]

    def read(self, group: Group) -> tuple[Entry, ...]:
        """The keys of a group.

        Raises:
            ConfigurationError: its file cannot be read, or does not hold exactly one active key and no id twice.
        """
        document = files.read_document(group.path)
        return _parse_entries(group, document)

    def listing(self) -> list[dict[str, str]]:
        """Every key as it may be shown: `group`, `kid`, `alg`, `state`, `since`; never a secret.

        Raises:
            ConfigurationError: a file cannot be read.
        """
        return [
            {
                "group": group.name,
                "kid": entry.key_id,
                "alg": entry.members.get("alg", "HMAC"),
                "state": str(entry.state),
                "since": files.timestamp(entry.since),
            }
            for group in self.groups()
            for entry in self.read(group)
        ]

    def rotate(self, group: Group, now: float, *, alg: str | None = None, at_once: bool = False) -> RotationStep:
        """Make the next step of a group's rotation, where it may be made already.

        Args:
            group: which.
            now: Unix seconds.
            alg: of a new signing key; that of the active one where not given.
            at_once: do not wait until all verifiers know the new key.

        Raises:
            ConfigurationError: the file cannot be read or written, `alg` is no algorithm, or a key for another one is
                published already.
        """
        with self._locked_group(group) as (entries, write):
            _check_wish(group, entries, alg)
            chosen = alg or states.active(entries).members.get("alg")
            turn = states.rotate(entries, group.timing, now, lambda: group.make(now, chosen), at_once=at_once)
            write(turn.entries)
        return turn

    def retire(self, group: Group, now: float) -> list[str]:
        """End the passive keys that have been so for long enough; their ids.

        Raises:
            ConfigurationError: the file cannot be read or written.
        """
        with self._locked_group(group) as (entries, write):
            left = states.retire(entries, group.timing, now)
            write(left)
        return [entry.key_id for entry in entries if entry not in left]

    def remove(self, key_id: str, now: float) -> tuple[Group, Entry]:
        """End a key at once, with all that it has signed. Where it was the active one, another signs from now on.

        Returns:
            Where it was, and the key that signs there now.

        Raises:
            ConfigurationError: there is no such key, or its file cannot be read or written.
        """
        group = self._link_holder(key_id)
        with self._locked_group(group) as (entries, write):
            removed = next((entry for entry in entries if entry.key_id == key_id), None)
            if removed is None:
                raise ConfigurationError(f"no key has the id {quoted(key_id)}")
            alg = removed.members.get("alg")
            left = states.remove(entries, key_id, now, lambda: group.make(now, alg))
            write(left, removed=key_id)
        return group, states.active(left)

    def advance(self, group: Group, now: float, rotate_after_s: float) -> list[str]:
        """What a rotation by age has to do now, if anything; told in words.

        Raises:
            ConfigurationError: the file cannot be read or written.
        """
        with self._locked_group(group) as (entries, write):
            if not states.is_due(entries, group.timing, now, rotate_after_s):
                return []
            left = states.retire(entries, group.timing, now)
            told = [f"{group.name} key {entry.key_id} retired" for entry in entries if entry not in left]
            if states.is_due(left, group.timing, now, rotate_after_s):
                alg = states.active(left).members.get("alg")
                turn = states.rotate(left, group.timing, now, lambda: group.make(now, alg))
                left = turn.entries
                told.append(f"{group.name} key {turn.key_id} {turn.did}")
            write(left)
        return told

    def is_due(self, group: Group, now: float, rotate_after_s: float) -> bool:
        """Whether `advance` would do something.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        return states.is_due(self.read(group), group.timing, now, rotate_after_s)

    def _link_holder(self, key_id: str) -> Group:
        """The group with a key of that id. Files that cannot be read must not keep a key in another from going."""
        broken: ConfigurationError | None = None
        for group in self.groups():
            try:
                if any(entry.key_id == key_id for entry in self.read(group)):
                    return group
            except ConfigurationError as error:
                broken = broken or error
        raise broken or ConfigurationError(f"no key has the id {quoted(key_id)}")

    @contextlib.contextmanager
    def _locked_group(self, group: Group) -> Iterator[tuple[tuple[Entry, ...], Write]]:
        """The keys of a group, and what writes them anew, under the lock."""
        try:
            with files.locked(self.directory):
                document = files.read_document(group.path)
                before = _parse_entries(group, document)
                yield before, partial(self._write_group, group, document, before)
        except OSError as error:
            raise KeysFixedError(f"{group.path}: cannot be written ({error.strerror})") from error

    def _write_group(
        self,
        group: Group,
        document: object,
        before: Sequence[Entry],
        after: Sequence[Entry],
        removed: str | None = None,
    ) -> None:
        if tuple(after) == tuple(before):
            return
        _write_group(group, document, after)
        for change in changes(group.name, before, after, removed):
            self._changed(change)
        for key_id in {entry.key_id for entry in before} - {entry.key_id for entry in after}:
            group.forget(key_id)

    def _make_signing_key(self, now: float, alg: str | None) -> Entry:
        key = keyring.generate(alg or keyring.NEW_RING)
        keyring.write_signing_key(self.directory, key)
        return Entry(key.kid, State.NEXT, now, {"alg": key.alg})

    def _forget_signing_key(self, kid: str) -> None:
        (self.directory / SIGNING_FOLDER / f"{kid}.pem").unlink(missing_ok=True)


def _make_secret(prefix: str, now: float, alg: str | None) -> Entry:
    del alg
    return Entry(f"{prefix}{secrets.token_hex(4)}", State.NEXT, now, {"secret": keyring.new_secret()})


def _nothing(key_id: str) -> None:
    """Forget a key that lives in the listing alone."""


def _check_wish(group: Group, entries: Sequence[Entry], alg: str | None) -> None:
    if alg is None:
        return
    for entry in entries:
        if entry.state is State.NEXT and entry.members.get("alg") != alg:
            raise ConfigurationError(f"{group.path}: {entry.key_id} is published to sign next; remove it first")


def _parse_entries(group: Group, document: object) -> tuple[Entry, ...]:
    found = tuple(
        _parse_entry(group, raw, first=number == 0) for number, raw in enumerate(files.entries(group.path, document))
    )
    if len({entry.key_id for entry in found}) != len(found):
        raise ConfigurationError(f"{group.path}: a key is listed twice")
    if sum(entry.state is State.ACTIVE for entry in found) != 1:
        raise ConfigurationError(f"{group.path}: not exactly one key is active")
    return found


def _parse_entry(group: Group, raw: dict[str, Any], *, first: bool) -> Entry:
    key_id = files.member(raw, group.id_member, group.path)
    # Files of secrets written by hand need not name states: the first one signs, the others verify.
    state = raw.get("state", State.ACTIVE if first else State.PASSIVE)
    if state not in list(State):
        raise ConfigurationError(f"{group.path}: the state of a key is one of {', '.join(sorted(State))}")
    members = {name: value for name, value in raw.items() if name not in {group.id_member, "state", "since"}}
    return Entry(key_id, State(state), files.since(raw, group.path), members)


def _write_group(group: Group, document: object, after: Sequence[Entry]) -> None:
    raw = [
        {
            group.id_member: entry.key_id,
            **entry.members,
            "state": entry.state,
            "since": files.timestamp(entry.since),
        }
        for entry in after
    ]
    rest = document if isinstance(document, dict) else {}
    files.write_private(group.path, files.as_json({**rest, "keys": raw}))
