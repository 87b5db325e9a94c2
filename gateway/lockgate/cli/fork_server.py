"""The process that a supervisor's children are forked from, after it has imported their modules. Linux.

A supervisor starts `python -m lockgate.cli.fork_server FD MODULE…` and talks to it over the socket FD: a line of JSON
asks for a child, a line of JSON tells its process id. A child runs a module like `python -m`, but has the imports
behind it: it is ready sooner, and shares the memory of the modules with its siblings.

All that is random or bound to one process is made after the fork, in the child. So this process has one thread and no
event loop, makes no connection, and reads no configuration and no key. The listening sockets are open in it.

A child is forked twice, and its first parent ends: the supervisor, a "subreaper" (prctl(2)), becomes its parent, learns
its exit code, and takes it along when it dies. The child goes on only then. A fork server that dies takes no child with
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lockgate.app.node import ConnectionCounts, Node
from lockgate.cli import main as gateway
from lockgate.cli import signals
from lockgate.cli.process import name_process, tied_to
from lockgate.identity.marks import SharedMarks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME: Final = "forks"
READY: Final = b"ready\n"
_THREADS: Final = Path("/proc/self/task")
GATEWAY: Final = "lockgate.cli"
"""The module of the gateway. Its workers get what they share with each other, so they are not run by name alone."""


@dataclass(frozen=True, slots=True)
class Order:
    """A child to fork.

    Attributes:
        name: of the child, for the list of processes.
        module: the module that it runs.
        arguments: of the program.
        env: its environment, with nothing inherited besides.
        log: the file for its output; `None`: the output of the fork server.
        worker: the number of a gateway's worker.
    """

    name: str
    module: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    log: str | None = None
    worker: int = 0


def main(channel: int, modules: Sequence[str]) -> None:
    """Import the modules and fork children until the supervisor closes the channel; in a child, run its program."""
    name_process(NAME)
    signals.hold_signals(signal.SIGHUP, *signals.IGNORED)
    for module in modules:
        importlib.import_module(module)
    counts, marks = ConnectionCounts(), SharedMarks()
    # Not collected, so not written to: the pages of what is there now stay shared with the children.
    gc.collect()
    gc.freeze()
    order = _fork_until_end(channel)
    if order is not None:
        _run_program(order, Node(order.worker, counts, marks))


def _fork_until_end(channel: int) -> Order | None:
    """Fork a child for each order. Returns in a child, with its order; and with None when the channel is closed."""
    with socket.socket(fileno=channel) as supervisor, supervisor.makefile("rb") as orders:
        supervisor.sendall(READY)
        for line in orders:
            order = Order(**json.loads(line))
            try:
                pid = _fork_orphan(order.name)
            except OSError as error:
                supervisor.sendall(_line(errno=error.errno))
                continue
            if pid == 0:
                return order
            supervisor.sendall(_line(pid=pid))
    return None


def _fork_orphan(name: str) -> int:
    """Fork a child of our own parent, in a session of its own, shown by a name in the list of processes.

    Returns:
        Its process id, and 0 in the child.

    Raises:
        OSError: it could not be forked.
    """
    check_one_thread()
    tie = tied_to(os.getppid())
    told, telling = os.pipe()
    gate, opener = os.pipe()
    middle = os.fork()
    if middle == 0:
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                os.setsid()
                name_process(name)
                os.write(telling, b"%d" % os.getpid())
                os.close(opener)
                os.read(gate, 1)  # until this process has its final parent
                for descriptor in (told, telling, gate):
                    os.close(descriptor)
                if tie is not None:
                    tie()
                return 0
        os._exit(0)
    os.close(telling)
    os.close(gate)
    try:
        os.waitpid(middle, 0)
        pid = os.read(told, 20)
    finally:
        os.close(told)
        os.close(opener)
    if not pid:
        raise BlockingIOError(errno.EAGAIN, "no process can be forked")
    return int(pid)


def check_one_thread() -> None:
    """Fail where a child would inherit a lock that a thread holds, or an event loop.

    Raises:
        RuntimeError: this process has another thread, or a running event loop.
    """
    if len(list(_THREADS.iterdir())) != 1:
        raise RuntimeError("a thread was started before a fork")
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the public function raises instead of returning None
        raise RuntimeError("an event loop runs before a fork")


def _run_program(order: Order, node: Node) -> None:
    os.environ.clear()
    os.environ.update(order.env)
    if order.log is not None:
        with Path(order.log).open("ab") as log:
            for standard in (1, 2):
                os.dup2(log.fileno(), standard)
    if order.module == GATEWAY:
        gateway.run(order.arguments, node)
    else:
        sys.argv = [order.module, *order.arguments]
        runpy.run_module(order.module, run_name="__main__", alter_sys=True)


def _line(**members: object) -> bytes:
    return json.dumps(members).encode() + b"\n"


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
