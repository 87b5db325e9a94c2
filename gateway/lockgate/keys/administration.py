"""Keys, as an administrator sees them from outside the machine: the list, and the next step of a rotation.

A rotation by call takes the lock in Redis that the rotation by age takes, and the lock of the folder that the commands
take. It rotates signing keys and refresh secrets, never links, never before their time, and removes nothing but keys
whose time is over: a thief of an administrator's token can hasten a rotation, and break nothing by it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from lockgate.clock import Clock
from lockgate.errors import ConfigurationError, Reason, Refusal
from lockgate.keys.changes import KeyChange
from lockgate.keys.states import RotationStep
from lockgate.keys.store import SIGNING, KeysFixedError, KeyStore
from lockgate.observe.audit import Audit
from lockgate.settings import Settings

TryLock = Callable[[], AbstractAsyncContextManager[bool]]
"""Tells whether this node may change the keys now; no other one may meanwhile."""

BUSY: Final = Refusal(Reason.KEYS_BUSY)

_log = logging.getLogger("lockgate.keys")


@dataclass(frozen=True, slots=True)
class Step:
    """What a call to rotate came to.

    Attributes:
        group: which keys.
        turn: the step.
        retired: ids of passive keys whose time was over, and that are gone now.
    """

    group: str
    turn: RotationStep
    retired: tuple[str, ...]


class KeyAdministration:
    """Shows keys and rotates them. Their files are read and written in a thread.

    Link keys are left to the command, because the other end of a link may hold a copy of the file.

    Args:
        settings: say where the keys are.
        try_lock: among all nodes.
        audit: is told of each change.
        clock: the time.
    """

    def __init__(self, settings: Settings, try_lock: TryLock, audit: Audit, clock: Clock) -> None:
        self._settings = settings
        self._try_lock = try_lock
        self._audit = audit
        self._clock = clock

    async def listing(self) -> list[dict[str, str]] | Refusal:
        """Every key as it may be shown, see `KeyStore.listing`; or why not: the files are bad."""
        try:
            return await asyncio.to_thread(KeyStore(self._settings).listing)
        except ConfigurationError as error:
            return _refusal(error)

    async def rotate(self, group: str, **facts: str) -> Step | Refusal:
        """End the keys whose time is over, and make the next step of a rotation, if it is not too early.

        Args:
            group: `signing` or `refresh`.
            facts: for the audit trail: the actor, and the origin of the call.

        Returns:
            The step; or why there is none: another node is at it, the folder cannot be written, its files are bad.

        Raises:
            StoreUnavailableError: the lock could not be asked for.
        """
        changes: list[KeyChange] = []
        store = KeyStore(self._settings, changes.append)
        try:
            async with self._try_lock() as alone:
                return await asyncio.to_thread(self._rotate_group, store, group) if alone else BUSY
        except ConfigurationError as error:
            return _refusal(error)
        finally:
            for change in changes:
                change.record(self._audit, **facts)

    def _rotate_group(self, store: KeyStore, name: str) -> Step:
        now = self._clock.now()
        group = store.signing() if name == SIGNING else store.refresh()
        retired = store.retire(group, now)
        return Step(name, store.rotate(group, now), tuple(retired))


def _refusal(error: ConfigurationError) -> Refusal:
    # What is wrong names files: for the log, not for the answer.
    _log.error("keys: %s", error)
    return Refusal(Reason.KEYS_FIXED if isinstance(error, KeysFixedError) else Reason.KEYS_UNUSABLE, note=str(error))
