"""A process that supervises children, for tests to kill.

`python -m tests.support.supervised idle 2` runs two children that print their pids and wait;
`… nested 2` runs itself as the one child, which does that; `… redis FOLDER` runs a Redis and prints its address.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from lockgate.cli.devstack import redis_server
from lockgate.cli.process import child_environment
from lockgate.cli.supervisor import Child, Supervisor

# One write, because two children share the pipe.
IDLE = "import os, signal; os.write(1, b'%d\\n' % os.getpid()); signal.pause()"


async def always() -> bool:
    return True


def _children(kind: str, argument: str) -> list[Child]:
    env = child_environment()
    if kind == "redis":
        return [
            redis_server.redis_child(Path(argument), Path(argument) / "redis.sock", env=env, log=Path(argument) / "log")
        ]
    if kind == "nested":
        # Not `python_module`, which shuts out the working folder: tests are found there, they are not installed.
        argv: tuple[str, ...] = (sys.executable, "-m", "tests.support.supervised", "idle", argument)
        return [Child("nested", argv, env, always)]
    argv = (sys.executable, "-c", IDLE)
    return [Child(f"idle-{number}", argv, env, always) for number in range(int(argument))]


async def _run(kind: str, argument: str) -> None:
    supervisor = Supervisor(_children(kind, argument), say=lambda *_: None)
    await supervisor.run(lambda: print("ready", flush=True))  # noqa: T201 - the tests read it


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
