"""The supervisor's side of `cli.fork_server`: starts that process, and has it fork children."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import socket
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from lockgate.cli.process import Process, python_module, run_program
from lockgate.cli.supervisor import Child

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SERVER: Final = "lockgate.cli.fork_server"
_PR_SET_CHILD_SUBREAPER: Final = 36


def is_possible() -> bool:
    """Whether this system can make a forked child of another process ours."""
    return sys.platform == "linux"


class Forks:
    """Forks children from a process that has imported their modules.

    A child whose process dies while the fork server is away is tried again like any other child that cannot be started.
    A fork server that dies takes no child with it, and its supervisor starts it again.

    Args:
        name: of the fork server, on the terminal, in its log and in the list of processes.
        modules: the modules to import.
        workers: how many workers of a gateway there will be at most.
    """

    def __init__(self, name: str, modules: Sequence[str], workers: int = 0) -> None:
        self._name = name
        self._modules = tuple(modules)
        self._workers = workers
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._ready = False
        self._turn = asyncio.Lock()

    def server(self, env: Mapping[str, str], fds: tuple[int, ...], logs: Path | None) -> Child:
        """The fork server as a child to supervise.

        Args:
            env: its environment.
            fds: descriptors that it inherits, and from it the children that want them.
            logs: the folder for its output; `None`: the output of the supervisor.
        """
        log = logs / f"{self._name}.log" if logs else None
        return Child(
            self._name,
            python_module(_SERVER, self._name),
            env,
            self._is_ready,
            fds=fds,
            launch=self._launch_server,
            log=log,
        )

    def forked(self, child: Child, worker: int = 0) -> Child:
        """A child, forked instead of started as a program.

        Args:
            child: its `argv` is that of `python_module`.
            worker: the number of a gateway's worker.
        """
        return replace(child, launch=partial(self._fork, worker=worker), after=child.after | {self._name})

    async def _launch_server(self, child: Child) -> Process:
        # What is forked for us becomes our child, so that its exit code reaches us (prctl(2)).
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        # A channel of its own for each life: an order that a dead server left unread is nothing for the next.
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            argv = (*child.argv, str(descriptor), str(self._workers), *self._modules)
            process = run_program(argv, env=child.env, fds=(*child.fds, descriptor), log=child.log)
        self._streams = await asyncio.open_connection(sock=ours)
        process.ended.add_done_callback(lambda _: self._forget_server())
        return process

    async def _is_ready(self) -> bool:
        if self._streams is None or await self._streams[0].readline() != b"ready\n":
            return False
        self._ready = True
        return True

    def _forget_server(self) -> None:
        self._ready = False
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _fork(self, child: Child, *, worker: int) -> Process:
        module, *arguments = child.argv[len(python_module("")) - 1 :]
        log = child.log
        log_start = log.stat().st_size if log is not None and log.exists() else 0
        order = {
            "name": child.name,
            "module": module,
            "arguments": arguments,
            "env": dict(child.env),
            "fds": child.fds,
            "log": None if log is None else str(log),
            "worker": worker,
        }
        async with self._turn:
            told = await self._ask(json.dumps(order).encode() + b"\n")
        if "pid" not in told:
            raise OSError(told["errno"], os.strerror(told["errno"]))
        return Process(told["pid"], partial(_wait, told["pid"]), log=log, log_start=log_start)

    async def _ask(self, order: bytes) -> dict[str, int]:
        if self._ready and self._streams is not None:
            reader, writer = self._streams
            writer.write(order)
            if line := await reader.readline():
                told: dict[str, int] = json.loads(line)
                return told
        raise OSError(errno.EPIPE, "the fork server is away")


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
