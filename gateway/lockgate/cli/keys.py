"""`lockgate keys`: make the keys that a deployment needs, show them, and take them through their states."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

from lockgate.cli.table import format_table
from lockgate.clock import SystemClock
from lockgate.errors import ConfigurationError, LockgateError, quoted
from lockgate.keys import check as key_check
from lockgate.keys import keyring
from lockgate.keys.changes import changes
from lockgate.keys.files import (
    LINKS_FOLDER,
    hand_over,
    ignore_in_git,
    join_readers,
    make_folder,
    timestamp,
)
from lockgate.keys.reload import GATEWAY, tls_keys
from lockgate.keys.states import RotationStep, StepKind
from lockgate.keys.store import SIGNING, Group, KeyStore
from lockgate_trust import LinkKeyError, create_link, link_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from lockgate.clock import Clock
    from lockgate.keys.changes import KeyChange
    from lockgate.keys.states import Entry
    from lockgate.settings import Settings

_SEEN_WITHIN_S: Final = 2
"""How soon every gateway that sees the changed file uses it, at most."""


class KeysNeedCareError(LockgateError):
    """A check has found problems, and has printed them."""


@dataclass(frozen=True, slots=True)
class Which:
    """The keys that a command is about: the signing keys, or one of these instead."""

    links: bool = False
    refresh: bool = False

    def groups(self, store: KeyStore) -> list[Group]:
        """The groups meant.

        Raises:
            ConfigurationError: two were asked for.
        """
        if self.links and self.refresh:
            raise ConfigurationError("--links or --refresh, not both")
        if self.links:
            return store.links()
        return [store.refresh() if self.refresh else store.signing()]


def _open_store(settings: Settings, changed: Callable[[KeyChange], None] = lambda _: None) -> KeyStore:
    join_readers(settings.keys.directory)
    return KeyStore(settings, changed)


def links_directory(settings: Settings) -> Path:
    """Where the link keys lie."""
    return settings.keys.directory / LINKS_FOLDER


def create_missing(
    settings: Settings, more_links: Collection[tuple[str, str]] = (), alg: str = keyring.NEW_RING
) -> list[str]:
    """Make the missing keys: the key ring, and a link key from the gateway to each service that it calls.

    Args:
        settings: name the folder and the services.
        more_links: links between services, as (origin, target).
        alg: the algorithm of the signing key, where one is made.

    Returns:
        The made keys, in words.

    Raises:
        ConfigurationError: a key cannot be written, or a link's name is none.
    """
    directory = links_directory(settings)
    links = [*((GATEWAY, service) for service in settings.called_services), *more_links]
    try:
        # Checked first: where one name is no link, no key is made.
        for origin, target in links:
            link_path(directory, origin, target)
    except LinkKeyError as error:
        raise ConfigurationError(str(error)) from error
    made = [str(settings.keys.directory / "signing")] if keyring.create(settings.keys.directory, alg) else []
    for origin, target in links:
        try:
            make_folder(directory)
            if create_link(directory, origin, target):
                hand_over(link_path(directory, origin, target))
                made.append(f"link {origin} -> {target}")
        except LinkKeyError as error:
            raise ConfigurationError(str(error)) from error
        except OSError as error:
            raise ConfigurationError(f"{directory}: keys cannot be written ({error.strerror})") from error
    ignore_in_git(settings.keys.directory)
    return made


def init_keys(
    settings: Settings, links: Collection[str], alg: str, *, as_json: bool = False, clock: Clock | None = None
) -> None:
    """Make the missing keys and list them; `links` as `origin--target`."""
    store = _open_store(settings)
    before = _read_groups(store)
    try:
        made = create_missing(settings, [_parsed_link(link) for link in links], alg)
    finally:
        found = _read_groups(store).items()
        _audit_changes(
            settings, [one for name, after in found for one in changes(name, before.get(name, ()), after)], clock
        )
    _show_result({"made": made}, made or ["nothing to do: every key is there"], as_json=as_json)


def list_keys(settings: Settings, *, as_json: bool) -> None:
    """List the keys; their names and states, never a secret.

    Raises:
        ConfigurationError: a file of keys cannot be read.
    """
    rows = _open_store(settings).listing()
    columns = ("group", "kid", "alg", "state", "since")
    lines = format_table([name.upper() for name in columns], [[str(row[name]) for name in columns] for row in rows])
    _show_result({"keys": rows}, lines, as_json=as_json)


def rotate_keys(  # noqa: PLR0913 - one for each option
    settings: Settings,
    which: Which,
    *,
    alg: str | None,
    at_once: bool,
    as_json: bool = False,
    clock: Clock | None = None,
) -> None:
    """Make the next step of a rotation, and print it with the time of the step after it.

    Raises:
        ConfigurationError: a file of keys cannot be read or written.
    """
    if alg is not None and (which.links or which.refresh):
        raise ConfigurationError("--alg is for signing keys; the others are secrets for HMAC-SHA256")
    now = (clock or SystemClock()).now()
    with _with_audit(settings, clock) as store:
        turns = [(group, store.rotate(group, now, alg=alg, at_once=at_once)) for group in which.groups(store)]
    lines = [f"{group.name}: {_describe_turn(group, turn)}" for group, turn in turns]
    _show_result({"rotated": [_turn_json(group, turn) for group, turn in turns]}, lines, as_json=as_json)
    _warn_of_problems(store, now)


def retire_keys(settings: Settings, *, as_json: bool = False, clock: Clock | None = None) -> None:
    """End every passive key after the last of its signatures has expired.

    Raises:
        ConfigurationError: a file of keys cannot be read or written.
    """
    now = (clock or SystemClock()).now()
    with _with_audit(settings, clock) as store:
        gone = [(group.name, kid) for group in store.groups() for kid in store.retire(group, now)]
    lines = [f"{name}: {kid} is gone" for name, kid in gone] or ["nothing to do: no passive key is old enough"]
    _show_result({"retired": [{"group": name, "kid": kid} for name, kid in gone]}, lines, as_json=as_json)
    _warn_of_problems(store, now)


def remove_key(settings: Settings, kid: str, *, as_json: bool = False, clock: Clock | None = None) -> None:
    """End one key at once: an emergency.

    Raises:
        ConfigurationError: there is no such key, or its file cannot be written.
    """
    now = (clock or SystemClock()).now()
    with _with_audit(settings, clock) as store:
        group, signing = store.remove(kid, now)
    line = (
        f"{group.name}: {kid} is removed; {signing.key_id} signs. "
        f"Everybody who reads {group.path} refuses what it has signed within {_SEEN_WITHIN_S} s."
    )
    _show_result({"group": group.name, "removed": kid, "active": signing.key_id}, [line], as_json=as_json)
    _warn_of_problems(store, now)


def check_keys(settings: Settings, *, as_json: bool, clock: Clock | None = None) -> None:
    """Check the folder, and the private keys for TLS, and print every problem.

    Raises:
        KeysNeedCareError: there is a problem.
    """
    found = key_check.check(_open_store(settings), (clock or SystemClock()).now(), tls_keys(settings))
    lines = [*(f"problem: {text}" for text in found.problems), *(f"hint: {text}" for text in found.hints)]
    answer = {"ok": not found.problems, "problems": found.problems, "hints": found.hints}
    _show_result(answer, lines if found.problems else [*lines, "every key is in order"], as_json=as_json)
    if found.problems:
        raise KeysNeedCareError(f"{len(found.problems)} problem(s) with the keys")


@contextlib.contextmanager
def _with_audit(settings: Settings, clock: Clock | None) -> Iterator[KeyStore]:
    """The folder of keys; every change to it is audited at the end, also where the command failed."""
    found: list[KeyChange] = []
    try:
        yield _open_store(settings, found.append)
    finally:
        _audit_changes(settings, found, clock)


def _audit_changes(settings: Settings, found: Sequence[KeyChange], clock: Clock | None) -> None:
    """Put changes into the audit trail. The changes are on disk already, so a failure here refuses nothing."""
    if not found:
        return
    # The Redis client takes longer to import than all the rest, and `lockgate dev` needs none of it.
    from lockgate.cli.trail import audit_actor, open_audit  # noqa: PLC0415

    async def record() -> None:
        async with open_audit(settings, clock or SystemClock()) as audit:
            for change in found:
                change.record(audit, actor=audit_actor())

    asyncio.run(record())


def _read_groups(store: KeyStore) -> dict[str, tuple[Entry, ...]]:
    """The keys of each group that can be read."""
    found = {}
    for group in store.groups():
        with contextlib.suppress(ConfigurationError):
            found[group.name] = store.read(group)
    return found


def _show_result(content: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(content, indent=2))
        return
    for line in lines:
        typer.echo(line)


def _turn_json(group: Group, turn: RotationStep) -> dict[str, str | None]:
    next_at = None if turn.next_at is None else timestamp(turn.next_at)
    return {"group": group.name, "did": str(turn.did), "kid": turn.key_id, "next_at": next_at}


def _describe_turn(group: Group, turn: RotationStep) -> str:
    when = "" if turn.next_at is None else timestamp(turn.next_at)
    again = f"`lockgate keys rotate{_option_of(group)}`"
    match turn.did:
        case StepKind.PUBLISHED:
            return (
                f"{turn.key_id} is published to sign next. Not before {when}, activate it: {again}{_name_copies(group)}"
            )
        case StepKind.ACTIVATED if group.is_link:
            return f"{turn.key_id} signs now. Not before {when}, drop the old key: {again}{_name_copies(group)}"
        case StepKind.ACTIVATED:
            return f"{turn.key_id} signs now. Not before {when}, end the key before it: `lockgate keys retire`"
        case StepKind.RETIRED:
            return f"{turn.key_id} is gone; this rotation is complete.{_name_copies(group)}"
        case StepKind.WAITING:
            return f"too early: {turn.key_id} has to wait until {when}; then {again}"


def _option_of(group: Group) -> str:
    if group.is_link:
        return " --links"
    return "" if group.name == SIGNING else " --refresh"


def _name_copies(group: Group) -> str:
    return f" (where the two ends keep copies, copy {group.path} to both now)" if group.is_link else ""


def _warn_of_problems(store: KeyStore, now: float) -> None:
    """Warn the operator of problems with the folder: gateways then go on with their last good keys."""
    for problem in key_check.check(store, now).problems:
        typer.echo(f"problem: {problem}", err=True)


def _parsed_link(text: str) -> tuple[str, str]:
    origin, separator, target = text.partition("--")
    if not separator:
        raise ConfigurationError(f"{quoted(text)} is not a link: it reads origin--target")
    return origin, target
