"""Reloads in a worker that has no supervisor: it reads the file itself, and is all workers of its node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from lockgate.cli import control
from lockgate.cli.reloader import Reloader
from lockgate.errors import ConfigurationError
from lockgate_common.background import BackgroundTasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from lockgate.app.rule_change import RuleChange
    from lockgate.cli.configuration import Configured
    from lockgate.settings import Settings

_log = logging.getLogger("lockgate.rules")


class OwnWorker:
    """This process's own worker. A `reloader.Worker`."""

    def __init__(self, change: RuleChange, parse: Callable[[str], Settings]) -> None:
        self._change = change
        self._parse = parse
        self.note_refused = change.note_refused
        self.note_unchanged = change.note_unchanged

    async def prepare(self, text: str, revision: str) -> str | None:
        """See `reloader.Worker`."""
        del revision  # it comes from the same settings
        try:
            await self._change.prepare(await asyncio.to_thread(self._parse, text))
        except ConfigurationError as error:
            return str(error)
        except Exception:  # noqa: BLE001 - a fault of ours refuses the rules, and ends nothing
            _log.exception("new rules could not be prepared")
            return "the worker failed, its log says how"
        return None

    async def take(self) -> None:
        """See `reloader.Worker`."""
        self._change.take()

    async def drop(self) -> None:
        """See `reloader.Worker`."""
        self._change.drop()


class LoneReloading:
    """Reloads the rules of this process at SIGHUP, by command, and when the file has changed.

    An `app.rule_change.Reloading`.

    Args:
        configured: the configuration of this process.
    """

    def __init__(self, configured: Configured) -> None:
        self._configured = configured
        self._tasks = BackgroundTasks()
        self._reloader: Reloader | None = None

    @contextlib.asynccontextmanager
    async def running(self, change: RuleChange) -> AsyncIterator[None]:
        """Listen and look for as long as the context lasts."""
        reloader = self._reloader = Reloader(self._configured)
        reloader.workers.add(OwnWorker(change, self._configured.parse))
        local = control.open_socket(self._configured.file)
        async with control.listening(local, reloader), reloader.watching():
            try:
                yield
            finally:
                await self._tasks.close()

    def hang_up(self) -> None:
        """Reload."""
        if self._reloader is not None:
            self._tasks.start(self._reloader.reload())
