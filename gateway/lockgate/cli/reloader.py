"""Reloads the rules of a node: read once, checked, prepared by every worker, and then taken by all of them or by none.

The process that was started runs this: a supervisor for its workers, a lone worker for itself. It reads the file, so
all workers get the same text, also one that is started later, whatever the file says then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from lockgate.errors import ConfigurationError, without_secrets
from lockgate.keys.files import Stamp, stamp
from lockgate.policy.changes import RestartNeededError, compare_settings, revision_of
from lockgate.settings import DEFAULT_FILE, read_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from lockgate.cli.configuration import Configured
    from lockgate.policy.changes import Change

LOOK_S: Final = 1.0
"""How often the file is looked at. A changed file is taken at the second look that finds it the same: until then it may
be a file that is still being written."""
TOLD_OF_FAULTS: Final = "the changed configuration was refused, the log says why"
"""What any client may read of a refusal; its text may name files."""

_log = logging.getLogger("lockgate.rules")


class Worker(Protocol):
    """A worker whose rules are exchanged. None of these methods raises anything."""

    async def prepare(self, text: str, revision: str) -> str | None:
        """Prepare the rules of a configuration file; why that cannot be, or `None`."""

    async def take(self) -> None:
        """Put the prepared rules in force, or end."""

    async def drop(self) -> None:
        """Give the prepared rules up."""

    def note_refused(self, problem: str, told: str) -> None:
        """The node has refused a configuration: `problem` for the log, `told` for any client."""

    def note_unchanged(self) -> None:
        """The file holds the rules in force, again."""


class Outcome(NamedTuple):
    """What became of a reload, or would become of it.

    Attributes:
        revision: of the rules in force now.
        changes: taken, or to be taken; empty where there is nothing to change.
        problem: why the configuration was refused; `None`: it was not.
    """

    revision: str
    changes: tuple[Change, ...] = ()
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "revision": self.revision,
            "changes": [change._asdict() for change in self.changes],
            "problem": self.problem,
        }


class Reloader:
    """Reloads the rules of a node. One reload at a time; another one waits, and reads the file again.

    Args:
        configured: the configuration of this process.
        say: reports a reload in one line; `None`: workers alone do.

    Attributes:
        text: of the configuration in force.
        settings: of the same.
        workers: that are there now.
        taken, refused, problem: as `RulesState`; a worker that is started later gets them.
        turn: held during a reload.
    """

    def __init__(self, configured: Configured, say: Callable[[str], None] | None = None) -> None:
        self._file = (configured.file or DEFAULT_FILE).absolute()
        self._parse = configured.parse
        self._say = say
        self._seen: Stamp = stamp([self._file])
        self._found = self._seen
        self.text = configured.text
        self.settings = configured.parse(configured.text)
        self.workers: set[Worker] = set()
        self.taken = self.refused = 0
        self.problem: str | None = None
        self.turn = asyncio.Lock()

    @property
    def revision(self) -> str:
        """The revision of the rules in force."""
        return revision_of(self.settings)

    async def reload(self) -> Outcome:
        """Read the file, and put its rules in force on every worker or on none."""
        async with self.turn:
            self._seen = self._found = stamp([self._file])
            try:
                outcome = await self._exchange()
            except ConfigurationError as error:
                return self._refuse(error)
            if outcome.changes:
                self.taken += 1
                self._report(f"reloaded, revision {outcome.revision}: {_places(outcome.changes)}")
            else:
                for worker in self.workers:
                    worker.note_unchanged()
            self.problem = None
            return outcome

    async def compare(self) -> Outcome:
        """What a reload would change, or why it would be refused, as far as this process can tell."""
        try:
            settings = await asyncio.to_thread(self._parse, read_file(self._file))
            changes = compare_settings(self.settings, settings)
        except ConfigurationError as error:
            return Outcome(self.revision, problem=_text_of(error))
        problem = str(RestartNeededError(changes.restart)) if changes.restart else None
        return Outcome(self.revision, changes.rules, problem)

    async def look(self) -> None:
        """Reload where the file has changed, and is the same as at the look before."""
        found, before = stamp([self._file]), self._found
        self._found = found
        if found not in {self._seen, ()} and found == before:
            await self.reload()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look at the file for as long as the context lasts."""
        task = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - a fault of ours: the rules in force stay, and the next look is tried
                _log.exception("looking at the configuration failed")

    async def _exchange(self) -> Outcome:
        text = read_file(self._file)
        settings = await asyncio.to_thread(self._parse, text)
        changes = compare_settings(self.settings, settings)
        if changes.restart:
            raise RestartNeededError(changes.restart)
        revision = revision_of(settings)
        if changes.rules:
            workers = list(self.workers)
            problems = await asyncio.gather(*(worker.prepare(text, revision) for worker in workers))
            problem = next((problem for problem in problems if problem is not None), None)
            if problem is not None:
                await asyncio.gather(*(worker.drop() for worker in workers))
                raise ConfigurationError(problem)
            # From here on a worker that is started has the new rules, so one that fails to take them is started anew.
            self.text, self.settings = text, settings
            await asyncio.gather(*(worker.take() for worker in workers))
        return Outcome(revision, changes.rules)

    def _refuse(self, error: ConfigurationError) -> Outcome:
        problem = _text_of(error)
        self.refused += 1
        self.problem = problem if isinstance(error, RestartNeededError) else TOLD_OF_FAULTS
        for worker in self.workers:
            worker.note_refused(problem, self.problem)
        self._report(f"refused, revision {self.revision} stays in use: {problem}")
        return Outcome(self.revision, problem=problem)

    def _report(self, text: str) -> None:
        if self._say is not None:
            self._say(text)


def _places(changes: Collection[Change]) -> str:
    return ", ".join(change.place for change in changes)


def _text_of(error: ConfigurationError) -> str:
    return without_secrets(" ".join(str(error).split()))
