"""Replaces keys by age: the steps of `lockgate keys rotate` and `retire`, made by the gateway itself.

Off by default (`[keys] rotate_after_s = 0`), because the gateway then has to write to the folder that holds its most
valuable secrets. With another value, every worker looks every five seconds whether a signing key or refresh secret has
a step to make. The worker that finds one takes a lock in Redis (`SET NX PX` with a random token, which only its holder
gives back), looks again, and makes the step. On one machine a file lock excludes the commands as well. If the Redis
lock runs out in the middle of a step, two nodes may publish a key each: both keys verify, and one of them will sign.
Nothing is lost, so the lock needs no fencing.

Link keys are left to the command: the two ends of a link may hold copies (docs/decisions/0010), and a gateway cannot
know whether the copy at the other end has followed. Keys in a folder that is mounted read-only cannot be rotated by
age; the gateway says so in its log and goes on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from lockgate.clock import Clock
from lockgate.errors import LockgateError
from lockgate.keys.administration import TryLock
from lockgate.keys.changes import KeyChange
from lockgate.keys.store import KeyStore
from lockgate.observe.audit import Audit
from lockgate.settings import Settings

PERIOD_S: Final = 4.9
"""At every tenth tick of the coarse clock."""

ACTOR: Final = "rotation"
"""The actor in the audit trail."""

_log = logging.getLogger("lockgate.keys")


class AutoRotation:
    """Takes signing keys and refresh secrets through their states, on one node at a time.

    Link keys are left to the command, because the other end of a link may hold a copy of the file.

    Args:
        settings: say where the keys are, which all nodes share, and how old an active one gets.
        try_lock: among all nodes.
        audit: is told of each change.
        clock: the time.
    """

    def __init__(self, settings: Settings, try_lock: TryLock, audit: Audit, clock: Clock) -> None:
        self._changes: list[KeyChange] = []
        self._store = KeyStore(settings, self._changes.append)
        self._rotate_after_s = settings.keys.rotate_after_s
        self._try_lock = try_lock
        self._audit = audit
        self._clock = clock
        self._polled = clock.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._problem: str | None = None

    def poll(self, now: float) -> None:
        """At each tick of the coarse clock, with the monotonic time."""
        if now - self._polled >= PERIOD_S and (self._task is None or self._task.done()):
            self._polled = now
            self._task = asyncio.get_running_loop().create_task(self._attempt())

    async def step(self) -> list[str]:
        """Do what is due now, if anything; told in words.

        Raises:
            LockgateError: the keys cannot be read or written, or the lock cannot be asked for.
        """
        if not await asyncio.to_thread(self._is_due):
            return []
        try:
            async with self._try_lock() as alone:
                # Looked at again under the lock: another node may have been quicker.
                return await asyncio.to_thread(self._advance_groups) if alone else []
        finally:
            while self._changes:
                self._changes.pop(0).record(self._audit, actor=ACTOR)

    async def close(self) -> None:
        """Begin nothing more; a step that is being made is finished."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _attempt(self) -> None:
        try:
            for told in await self.step():
                _log.info("rotation by age: %s", told)
        except LockgateError as error:
            if str(error) != self._problem:
                _log.error("rotation by age: %s", error)
            self._problem = str(error)
        else:
            self._problem = None

    def _is_due(self) -> bool:
        now = self._clock.now()
        groups = (self._store.signing(), self._store.refresh())
        return any(self._store.is_due(group, now, self._rotate_after_s) for group in groups)

    def _advance_groups(self) -> list[str]:
        now = self._clock.now()
        groups = (self._store.signing(), self._store.refresh())
        return [told for group in groups for told in self._store.advance(group, now, self._rotate_after_s)]
