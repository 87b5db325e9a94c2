"""Keeps a set of processes running: starts each when its needs are ready, restarts it, stops all in order.

The one supervisor behind `lockgate dev` (Redis, services, gateway) and `lockgate serve --workers N`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lockgate.cli.process import Process, describe_exit, run_program
from lockgate.errors import AlreadyReportedError, ConfigurationError, LockgateError

if TYPE_CHECKING:
    from pathlib import Path

Probe = Callable[[], Awaitable[bool]]
"""Asks a child whether it is ready. Answers within seconds; a child that does not answer is not ready."""

Say = Callable[[str, str], None]
"""Reports an event to the user at the terminal: the name of the child, and the event."""

MISCONFIGURED: Final = 2
"""The exit code of a program that refuses its configuration, after a line with the reason."""

_PROBE_PAUSE_S: Final = 0.03
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


Launch = Callable[["Child"], Awaitable[Process]]
"""Starts a child."""


async def execute(child: Child) -> Process:
    """Start a child as a program of its own."""
    return run_program(child.argv, env=child.env, fds=child.fds, log=child.log)


@dataclass(frozen=True, slots=True)
class Child:
    """A program to run, and its relations to other children.

    Attributes:
        name: unique; stands on the terminal and in the name of the log file.
        argv: the program and its arguments.
        env: the environment of the child, with nothing inherited besides.
        probe: says whether the child is ready.
        needs: names of children that are ready before this child starts, and stop only after it has ended.
        after: names of children that are ready before this child starts.
        uses: names of children that stop only after this child has ended.
        essential: whether the start of the whole fails when this child cannot be started.
        fds: descriptors that the child inherits.
        launch: starts the child; OSError where it cannot be started.
        log: the file for its output; `None`: the output of the supervisor.
        start_s: how long the child may take to become ready.
        grace_s: how long the child may take to stop after SIGTERM.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    probe: Probe
    needs: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    essential: bool = True
    fds: tuple[int, ...] = ()
    launch: Launch = execute
    log: Path | None = None
    start_s: float = 30
    grace_s: float = 10


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a child that dies is restarted: twice as late each time, until it has run for `stable_s` (seconds)."""

    first_s: float = 0.2
    most_s: float = 15
    stable_s: float = 10

    def after(self, pause_s: float, *, lived_s: float) -> float:
        """The pause before the next start, given the one before the last start and how long the child then lived."""
        return self.first_s if lived_s >= self.stable_s else min(max(pause_s * 2, self.first_s), self.most_s)


class ChildFailedError(LockgateError):
    """An essential child could not be started; the text ends with its last lines of output."""


@dataclass(slots=True)
class _Kept:
    """A child and its current state; `process` is `None` where no life of the child was under way."""

    child: Child
    ready: asyncio.Future[None]
    gone: asyncio.Future[None]
    process: Process | None = None
    serving: bool = False
    users: list[_Kept] = field(default_factory=list)


class _End(NamedTuple):
    """How one life of a child ended, for the terminal; with its last lines of output where it never became ready."""

    reason: str
    code: int | None = None
    last_lines: tuple[str, ...] = ()

    def tail(self, log: Path | None) -> str:
        if not self.last_lines:
            return ""
        return "\n    ".join([f"; the end of {log}:", *self.last_lines])


class Supervisor:
    """Runs children until it is told to stop. Must be made inside a running event loop, on the main thread.

    Args:
        children: in any order; their `needs`, `after` and `uses` make the order.
        say: is called with each event of a child.
        pace: of restarts; `None`: the default pace.
        on_hangup: called at SIGHUP, after it was handed on to the children; `None`: SIGHUP stops everything.
    """

    def __init__(
        self,
        children: Collection[Child],
        *,
        say: Say,
        pace: Pace | None = None,
        on_hangup: Callable[[], object] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._say = say
        self._pace = pace or Pace()
        self._on_hangup = on_hangup
        self._stopping: asyncio.Future[None] = loop.create_future()
        self._failure: LockgateError | None = None
        self._kept = {child.name: _Kept(child, loop.create_future(), loop.create_future()) for child in children}
        for kept in self._kept.values():
            for name in kept.child.needs | kept.child.uses:
                self._kept[name].users.append(kept)

    async def run(self, when_ready: Callable[[], None] = lambda: None) -> None:
        """Start all children, keep them running, and return when all have stopped after SIGINT, SIGTERM or SIGQUIT.

        A SIGINT after one of these kills the children that still run; any other signal that is sent twice does not.

        Args:
            when_ready: called once, when every essential child is ready.

        Raises:
            ConfigurationError: an essential child says that it cannot start as it is configured; without a log of its
                own, a `AlreadyReportedError`.
            ChildFailedError: an essential child could not be started. In both cases everything has been stopped.
        """
        try:
            with self._forward_signals():
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._announce_ready(when_ready))
                    for kept in self._kept.values():
                        tasks.create_task(self._keep_running(kept))
        finally:
            self._kill_all()
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Stop all children in order; the second call kills those that still run."""
        if self._stopping.done():
            self._kill_all()
        else:
            self._stopping.set_result(None)

    async def _announce_ready(self, when_ready: Callable[[], None]) -> None:
        if await self._all_ready(kept for kept in self._kept.values() if kept.child.essential):
            when_ready()

    async def _keep_running(self, kept: _Kept) -> None:
        if await self._all_ready(self._kept[name] for name in kept.child.needs | kept.child.after):
            await self._restart_until_stop(kept)
        await self._end(kept)
        kept.gone.set_result(None)

    async def _restart_until_stop(self, kept: _Kept) -> None:
        pause_s = 0.0
        while True:
            started = self._loop.time()
            end = await self._live_children(kept)
            if self._stopping.done():
                return
            kept.process = None
            pause_s = self._pace.after(pause_s, lived_s=self._loop.time() - started)
            self._say(kept.child.name, f"{end.reason}, restarting in {pause_s:.1f} s{end.tail(kept.child.log)}")
            await asyncio.wait({self._stopping}, timeout=pause_s)
            if self._stopping.done():
                return

    async def _live_children(self, kept: _Kept) -> _End:
        """Start the child once, and wait until it ends or everything is to stop."""
        child = kept.child
        try:
            process = kept.process = await child.launch(child)
        except OSError as error:
            return self._on_failure(kept, _End(f"cannot be run ({error.strerror})"))
        if not await self._becomes_ready(child, process):
            if self._stopping.done():
                return _End("stopped")
            reason = (
                describe_exit(process.ended.result()) if process.ended.done() else f"not ready in {child.start_s:g} s"
            )
            process.kill()
            await asyncio.wait({process.ended})
            return self._on_failure(kept, _End(reason, process.ended.result(), tuple(process.last_lines())))
        self._say(child.name, "is back" if kept.ready.done() else "ready")
        if not kept.ready.done():
            kept.ready.set_result(None)
        kept.serving = True
        await _first_failure(process.ended, self._stopping)
        kept.serving = False
        return _End(describe_exit(process.ended.result()) if process.ended.done() else "stopped")

    async def _becomes_ready(self, child: Child, process: Process) -> bool:
        probing = asyncio.create_task(_until_true(child.probe))
        try:
            await _first_failure(probing, process.ended, self._stopping, timeout_s=child.start_s)
            return probing.done() and probing.result() and not process.ended.done()
        finally:
            probing.cancel()

    def _on_failure(self, kept: _Kept, end: _End) -> _End:
        """Note a failed start. Without an essential child the whole cannot start either."""
        kept.process = None
        if kept.child.essential and not kept.ready.done() and not self._stopping.done():
            what = f"{kept.child.name} did not start"
            if end.code == MISCONFIGURED and kept.child.log is None:
                self._failure = AlreadyReportedError(what)
            elif end.code == MISCONFIGURED:
                self._failure = ConfigurationError(f"{what}: {end.last_lines[-1] if end.last_lines else end.reason}")
            else:
                self._failure = ChildFailedError(f"{what}: {end.reason}{end.tail(kept.child.log)}")
            self.stop()
        return end

    async def _end(self, kept: _Kept) -> None:
        if kept.users:
            await asyncio.wait({user.gone for user in kept.users})
        process = kept.process
        if process is None:
            return
        # Ended already: by a signal that a terminal sent to it as well, or killed by a second stop.
        process.signal(signal.SIGTERM)
        await asyncio.wait({process.ended}, timeout=kept.child.grace_s)
        if not process.ended.done():
            self._say(kept.child.name, f"did not stop within {kept.child.grace_s:g} s, killing it")
            process.kill()
            await asyncio.wait({process.ended})
        self._say(kept.child.name, "stopped")

    async def _all_ready(self, needed: Iterable[_Kept]) -> bool:
        """Wait until all of them are ready or the supervisor stops; whether they are ready."""
        for kept in needed:
            await _first_failure(kept.ready, self._stopping)
        return not self._stopping.done()

    def _kill_all(self) -> None:
        for kept in self._kept.values():
            if kept.process:
                kept.process.kill()

    def _stop_once(self) -> None:
        if not self._stopping.done():
            self.stop()

    def _hang_up(self) -> None:
        """Hand SIGHUP on to children that are ready: a process that is just starting would die of it."""
        for kept in self._kept.values():
            if kept.process is not None and kept.serving:
                kept.process.signal(signal.SIGHUP)
        if self._on_hangup is not None:
            self._on_hangup()

    @contextlib.contextmanager
    def _forward_signals(self) -> Iterator[None]:
        # A signal that the parent ignores stays ignored (`nohup`), except SIGINT: a shell script ignores it
        # for everything it puts into the background, where `kill -INT` is still meant.
        hangup = self._stop_once if self._on_hangup is None else self._hang_up
        wanted = {**dict.fromkeys(_STOP_SIGNALS, self._stop_once), signal.SIGINT: self.stop, signal.SIGHUP: hangup}
        numbers = [n for n in wanted if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
        for number in numbers:
            self._loop.add_signal_handler(number, wanted[number])
        try:
            yield
        finally:
            for number in numbers:
                self._loop.remove_signal_handler(number)


async def _first_failure(*futures: asyncio.Future[Any], timeout_s: float | None = None) -> None:
    await asyncio.wait(futures, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


async def _until_true(probe: Probe) -> bool:
    while not await probe():  # noqa: ASYNC110 - another process cannot set our event
        await asyncio.sleep(_PROBE_PAUSE_S)
    return True
