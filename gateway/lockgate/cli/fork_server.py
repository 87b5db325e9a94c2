"""The process that a supervisor's children are forked from, after it has imported their modules. Linux.

A supervisor starts `python -m lockgate.cli.fork_server NAME FD WORKERS MODULE…` and talks to it over the socket FD: a
line of JSON asks for a child, a line of JSON tells its process id. A child runs a module like `python -m`, but has the
imports behind it: it is ready sooner, and shares the memory of the modules with its siblings.

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
import itertools
import json
import os
import runpy
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lockgate.cli import signals
from lockgate.cli.process import name_process, tied_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lockgate.app.node import Node

READY: Final = b"ready\n"
_MAX_DESCRIPTOR: Final = 1 << 16
_UNUSED: Final = ("rich", "opentelemetry.sdk")
"""structlog, in services, takes the first for tracebacks on a terminal; redis-py the second for metrics of its own."""
_THREADS: Final = Path("/proc/self/task")
GATEWAY: Final = "lockgate.cli"
"""The module of the gateway. Its workers get what they share with each other, so they are not run by name alone."""
_SERVER: Final = "lockgate.app.server"


@dataclass(frozen=True, slots=True)
class Order:
    """A child to fork.

    Attributes:
        name: of the child, for the list of processes.
        module: the module that it runs.
        arguments: of the program.
        env: its environment, with nothing inherited besides.
        fds: the descriptors that it keeps besides the standard ones.
        log: the file for its output; `None`: the output of the fork server.
        worker: the number of a gateway's worker.
    """

    name: str
    module: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    fds: Sequence[int] = ()
    log: str | None = None
    worker: int = 0


def main(channel: int, workers: int, modules: Sequence[str]) -> None:
    """Import the modules and fork children until the supervisor closes the channel; in a child, run its program.

    Args:
        channel: the descriptor of the socket to the supervisor.
        workers: how many workers of a gateway there will be at most.
        modules: the modules to import.
    """
    signals.hold_signals(signal.SIGHUP, *signals.IGNORED)
    with _left_out():
        for module in modules:
            importlib.import_module(module)
    build_node = _share_memory(workers) if _SERVER in modules else None
    # Not collected, so not written to: the pages of what is there now stay shared with the children.
    gc.collect()
    gc.freeze()
    order = _fork_until_end(channel)
    if order is not None:
        _run_program(order, None if build_node is None else build_node(order.worker))


@contextlib.contextmanager
def _left_out() -> Iterator[None]:
    """Keep libraries from importing what they import only where it is installed, and what no child of ours uses.

    An import of `_UNUSED` fails meanwhile as if the module was not installed. Later imports find it again: the exporter
    of traces does, where it is configured.
    """
    out = [name for name in _UNUSED if name not in sys.modules]
    # None stands for a module that cannot be imported (Python reference, 5.3.1).
    sys.modules.update(dict.fromkeys(out))  # type: ignore[arg-type] # as said
    try:
        yield
    finally:
        for name in out:
            del sys.modules[name]


def _share_memory(workers: int) -> Callable[[int], Node]:
    """Make what the workers of a node share; returns what a worker of a number gets of it."""
    from lockgate.app.node import ConnectionCounts, Node  # noqa: PLC0415 - the services have none of this
    from lockgate.identity.marks import SharedMarks  # noqa: PLC0415

    _load_decoders()
    counts, marks = ConnectionCounts(workers), SharedMarks()
    return lambda worker: Node(worker, counts, marks)


def _load_decoders() -> None:
    """Let OpenSSL load its decoders of keys, by a public key of no use: 1.5 MB that the children share then."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )

    point = ed25519.Ed25519PublicKey.from_public_bytes(b"\x01" + bytes(31))
    pem = point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    load_pem_public_key(pem)


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


def _run_program(order: Order, node: Node | None) -> None:
    kept = sorted({0, 1, 2, *order.fds})
    for start, end in itertools.pairwise([*kept, _MAX_DESCRIPTOR]):
        os.closerange(start + 1, end)
    os.environ.clear()
    os.environ.update(order.env)
    if order.log is not None:
        with Path(order.log).open("ab") as log:
            for standard in (1, 2):
                os.dup2(log.fileno(), standard)
    if order.module == GATEWAY:
        from lockgate.cli import main as gateway  # noqa: PLC0415 - as above

        gateway.run(order.arguments, node)
    else:
        sys.argv = [order.module, *order.arguments]
        runpy.run_module(order.module, run_name="__main__", alter_sys=True)


def _line(**members: object) -> bytes:
    return json.dumps(members).encode() + b"\n"


if __name__ == "__main__":
    name_process(sys.argv[1])
    main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
