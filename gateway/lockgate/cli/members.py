"""The rules on their way from a supervisor to its workers, and how each worker came along.

A worker joins when it starts, before it reads any configuration: it gets the text that is in force on its node, not
that of the file. Then its supervisor asks it to prepare a text, and to take or drop what it has prepared. A worker that
does not say that it has taken its rules is ended, and the supervisor starts another one, which has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from lockgate.cli import control, local_sockets
from lockgate.cli.control import Line
from lockgate.errors import ConfigurationError, LockgateError, without_secrets

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

    from lockgate.app.rule_change import RuleChange
    from lockgate.cli.reloader import Reloader
    from lockgate.settings import Settings

PREPARED_WITHIN_S: Final = 5.0
"""How long a worker may take to prepare; one that is just starting answers when it serves."""
TAKEN_WITHIN_S: Final = 5.0
JOINED_WITHIN_S: Final = 30.0

_log = logging.getLogger("lockgate.rules")


class Member:
    """A worker at the other end of a connection, as its supervisor sees it."""

    def __init__(self, line: Line, pid: int | None) -> None:
        self._line = line
        self._pid = pid
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._asked = 0
        self._gone = False

    async def prepare(self, text: str, revision: str) -> str | None:
        """See `reloader.Worker`. A worker that dies is no reason to refuse: the next one has what is in force then."""
        answer = await self._ask({"do": "prepare", "text": text}, PREPARED_WITHIN_S)
        if self._gone:
            return None
        if answer is None:
            return f"worker {self._pid} did not answer in {PREPARED_WITHIN_S:g} s"
        problem: str | None = answer.get("problem")
        if problem is None and answer.get("revision") != revision:
            return f"worker {self._pid} reads other rules than its supervisor: its variables differ"
        return problem

    async def take(self) -> None:
        """See `reloader.Worker`."""
        if await self._ask({"do": "take"}, TAKEN_WITHIN_S) is None and not self._gone and self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    async def drop(self) -> None:
        """See `reloader.Worker`."""
        self._line.write({"do": "drop"})

    def note_refused(self, problem: str, told: str) -> None:
        """See `reloader.Worker`."""
        self._line.write({"do": "refused", "problem": problem, "told": told})

    def note_unchanged(self) -> None:
        """See `reloader.Worker`."""
        self._line.write({"do": "unchanged"})

    async def follow(self) -> None:
        """Read the worker's answers until it is gone."""
        while (message := await self._line.read()) is not None:
            # An answer that comes too late is that to no question any more.
            answer = self._answers.get(message.get("id", 0))
            if answer is not None and not answer.done():
                answer.set_result(message)
        self._gone = True
        for answer in self._answers.values():
            answer.cancel()

    async def _ask(self, message: dict[str, Any], within_s: float) -> dict[str, Any] | None:
        """The answer; `None` where there is none in time, or the worker is gone."""
        if self._gone:
            return None
        self._asked += 1
        answer = self._answers[self._asked] = asyncio.get_running_loop().create_future()
        self._line.write({**message, "id": self._asked})
        await asyncio.wait({answer}, timeout=within_s)
        del self._answers[self._asked]
        return answer.result() if answer.done() and not answer.cancelled() else None


async def admit(reloader: Reloader, line: Line, pid: int | None) -> None:
    """Serve the connection of a worker to its end, in the supervisor."""
    member = Member(line, pid)
    # Not during a reload: the worker would have the rules before it, and miss the reload.
    async with reloader.turn:
        reloader.workers.add(member)
        line.write(
            {
                "text": reloader.text,
                "taken": reloader.taken,
                "refused": reloader.refused,
                "problem": reloader.problem,
            }
        )
    try:
        await member.follow()
    finally:
        reloader.workers.discard(member)


class Membership:
    """A worker's connection to its supervisor.

    Attributes:
        text: the configuration file in force on the node.
    """

    def __init__(self, connected: socket.socket, state: dict[str, Any]) -> None:
        self._connected = connected
        self._state = state
        self.text: str = state["text"]

    def reloading(self, parse: Callable[[str], Settings]) -> MemberReloading:
        """What brings the worker new rules."""
        return MemberReloading(self._connected, self._state, parse)


def join(name: str) -> Membership:
    """Join the node whose supervisor listens on a name. Blocks while a reload is under way.

    Raises:
        LockgateError: the supervisor does not answer.
    """
    try:
        connected = local_sockets.connect(name)
        connected.settimeout(JOINED_WITHIN_S)
        connected.sendall(b'{"do": "join"}\n')
        state = json.loads(control.read_line(connected))
    except (OSError, ValueError) as error:
        raise LockgateError(f"the supervisor does not answer ({type(error).__name__})") from error
    return Membership(connected, state)


class MemberReloading:
    """Brings a worker the rules that its supervisor hands on. An `app.rule_change.Reloading`."""

    def __init__(self, connected: socket.socket, state: dict[str, Any], parse: Callable[[str], Settings]) -> None:
        self._connected = connected
        self._state = state
        self._parse = parse

    @contextlib.asynccontextmanager
    async def running(self, change: RuleChange) -> AsyncIterator[None]:
        """Answer the supervisor for as long as the context lasts."""
        state = self._state
        change.state.taken, change.state.refused, change.state.problem = (
            state["taken"],
            state["refused"],
            state["problem"],
        )
        self._connected.setblocking(False)  # noqa: FBT003 - the library's spelling
        line = await Line.of_socket(self._connected)
        task = asyncio.create_task(self._answer(line, change))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            await line.close()

    def hang_up(self) -> None:
        """Nothing: the supervisor gets the signal, too, and decides for all its workers."""

    async def _answer(self, line: Line, change: RuleChange) -> None:
        while (asked := await line.read()) is not None:
            match asked["do"]:
                case "prepare":
                    line.write({"id": asked["id"], **await self._prepare(change, asked["text"])})
                case "take":
                    change.take()
                    line.write({"id": asked["id"], "revision": change.revision})
                case "drop":
                    change.drop()
                case "refused":
                    change.note_refused(asked["problem"], asked["told"])
                case "unchanged":
                    change.note_unchanged()

    async def _prepare(self, change: RuleChange, text: str) -> dict[str, Any]:
        try:
            return {"revision": await change.prepare(await asyncio.to_thread(self._parse, text))}
        except ConfigurationError as error:
            return {"problem": without_secrets(" ".join(str(error).split()))}
        except Exception:  # noqa: BLE001 - a fault of ours refuses the rules, and ends nothing
            _log.exception("new rules could not be prepared")
            return {"problem": "a worker failed, its log says how"}
