"""The audit trail: the actor, the event, its time, address and outcome, without secrets.

Each event is one JSON line in the log, written before anything else, and one entry of a capped stream in Redis, which
operators read. The line does not depend on Redis, the stream does, and a request waits for neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol, TextIO

from lockgate.clock import Clock
from lockgate.errors import LockgateError

MAX_WAITING: Final = 10_000
"""The most events that wait for Redis to come back. Beyond that the oldest are dropped; the log has all of them."""
BATCH: Final = 500
MAX_TEXT: Final = 256
SOME: Final = 5
OFTEN: Final = 20
MACHINE: Final = "client:"
"""The prefix of `sub` where an OAuth client acts in its own name. Administrators register clients."""
SOME_WINDOW_S: Final = 60
MAX_RATIONED: Final = 10_000
"""The most repeatable events that a worker keeps a count of; the oldest counts are dropped first."""


class Event(StrEnum):
    """The kinds of events. Names are stable, because operators search for them."""

    LOGIN = "login"
    LOGIN_REFUSED = "login.refused"
    REFRESH = "refresh"
    REFRESH_REFUSED = "refresh.refused"
    REFRESH_REUSED = "refresh.reused"
    REFRESH_UNCONFIRMED = "refresh.unconfirmed"
    REVOKE = "revoke"
    LOGOUT = "logout"
    LOGOUT_ALL = "logout.all"
    SESSION_ENDED = "session.ended"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 - the name of an event
    PASSWORD_REFUSED = "password.refused"  # noqa: S105 - the name of an event
    USER_BLOCKED = "user.blocked"
    USER_UNBLOCKED = "user.unblocked"
    CLIENT_ADDED = "client.added"
    CLIENT_REMOVED = "client.removed"
    CLIENT_TOKEN = "client.token"  # noqa: S105 - the name of an event
    CLIENT_REFUSED = "client.refused"
    ROLE_GRANTED = "role.granted"
    ROLE_REVOKED = "role.revoked"
    KEY_PUBLISHED = "key.published"
    KEY_ACTIVATED = "key.activated"
    KEY_PASSIVE = "key.passive"
    KEY_RETIRED = "key.retired"
    KEY_REMOVED = "key.removed"
    KEYS_REFUSED = "keys.refused"


class Trail(Protocol):
    """Keeps events for operators to read."""

    async def append(self, entries: Sequence[Mapping[str, str]]) -> None:
        """Append the entries in this order.

        Raises:
            LockgateError: none or not all of the entries were appended.
        """


class Audit:
    """Writes the audit trail.

    Args:
        trail: keeps the events for operators.
        out: gets the log lines; `None` for standard output.
    """

    def __init__(self, trail: Trail, clock: Clock, out: TextIO | None = None) -> None:
        self._trail = trail
        self._clock = clock
        self._out = out
        self._waiting: deque[dict[str, str]] = deque(maxlen=MAX_WAITING)
        self._writing: asyncio.Task[None] | None = None
        self._rationed: OrderedDict[tuple[Event, str], tuple[float, int]] = OrderedDict()

    def record(self, event: Event, **facts: str | None) -> None:
        """Record an event, in the log and in the trail.

        The trail keeps at most `OFTEN` events of a user's own actions in `SOME_WINDOW_S`, for each kind of event, user
        and worker. Attack: a registered user logs in and out as fast as passwords can be checked, to flood the trail.

        Args:
            event: the kind of event.
            facts: by name: `sub`, `sid`, `jti`, `client_id`, `client` (a digest of an unknown client's name), `actor`
                (where that is not `sub`), `address`, `request_id`, `reason`, `account` (a digest of the name that was
                typed), `role`; of a key its `group`, `kid` and `alg`; `worker` (where the event concerns one worker
                only). Empty facts are left out. No fact is a token, password, cookie, captcha answer or key.
        """
        user = facts.get("sub")
        if user and not facts.get("actor") and not user.startswith(MACHINE):
            self.record_some(event, user, facts, most=OFTEN)
        else:
            self._queue_entry(self.log(event, **facts))

    def record_some(self, event: Event, about: str, facts: Mapping[str, str | None], *, most: int = SOME) -> None:
        """Record an event that can be repeated at will: always in the log, and in the trail up to a bound.

        Args:
            event: the kind of event.
            about: the subject of the event, such as a user or an address; the bound applies to event and subject.
            facts: as for `record`.
            most: the most events that this worker's trail keeps in `SOME_WINDOW_S`.
        """
        entry = self.log(event, **facts)
        now, key = self._clock.now(), (event, about)
        since, kept = self._rationed.pop(key, (now, 0))
        if now >= since + SOME_WINDOW_S:
            since, kept = now, 0
        is_kept = kept < most
        self._rationed[key] = since, kept + is_kept
        if len(self._rationed) > MAX_RATIONED:
            self._rationed.popitem(last=False)
        if is_kept:
            self._queue_entry(entry)

    def _queue_entry(self, entry: dict[str, str]) -> None:
        self._waiting.append(entry)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._append_waiting())

    def log(self, event: Event, **facts: str | None) -> dict[str, str]:
        """Record an event in the log alone: a client without credentials can cause any number of such events.

        Attack: the trail is capped, so a client that fills the trail removes older events.

        Returns:
            The entry.
        """
        moment = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds")
        known = {name: value[:MAX_TEXT] for name, value in facts.items() if value}
        entry = {"time": moment, "event": str(event), **known}
        self._write_line(entry)
        return entry

    @property
    def waiting_count(self) -> int:
        """The number of events that are not in the trail yet."""
        return len(self._waiting)

    async def flush(self) -> None:
        """Wait until all events so far are in the trail, or could not be appended."""
        if self._writing is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing

    def _write_line(self, entry: Mapping[str, str]) -> None:
        """Write a JSON line. JSON escapes control characters, so a client's text cannot begin a line of its own."""
        out = self._out or sys.stdout
        out.write(json.dumps({"log": "audit", **entry}) + "\n")
        out.flush()

    async def _append_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting[index] for index in range(min(BATCH, len(self._waiting)))]
            try:
                await self._trail.append(batch)
            except LockgateError as error:
                # The entries stay in the queue; the next event tries again.
                self._write_line({"event": "trail.failed", "reason": str(error)})
                return
            for entry in batch:
                if self._waiting and self._waiting[0] is entry:
                    self._waiting.popleft()
