"""What one question to Redis costs a request: the admission link against calls of redis-py's client.

    python -m bench.admission [REDIS_URL]

Without an address a server is started for the measurement. Figures are microseconds for each question: wall clock, and
CPU time of this process, best of five rounds.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import uvloop
from redis.asyncio import Redis

from lockgate.admission.gate import Admission
from lockgate.cli.devstack import redis_server
from lockgate.clock import SystemClock
from lockgate.identity.model import Principal, VerifiedClaims
from lockgate.stores.layout import admission_keys
from lockgate.stores.links import link_to
from lockgate_trust import cover

QUESTIONS: Final = 20_000
ROUNDS: Final = 5
TOGETHER: Final = (1, 8, 64)

Round = Callable[[], Awaitable[None]]


def _claims(number: int) -> VerifiedClaims:
    sub, jti, sid = f"user-{number}", f"token-{number}", f"session-{number}"
    principal = Principal(sub, sid, jti, "bench", (), frozenset(), 0, (), cover(()))
    return VerifiedClaims(exp=2e9, not_before=0, epoch=0, principal=principal, question=admission_keys(sub, jti, sid))


async def _by_link(admission: Admission, tokens: list[VerifiedClaims]) -> None:
    """Ask as the forwarding path does: by callback, the next batch after the last reply to the batch before."""
    loop = asyncio.get_running_loop()
    left = len(tokens)
    done: asyncio.Future[None] = loop.create_future()

    def decide(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    for claims in tokens:
        admission.ask(claims, (), "", decide)
    await done


async def _by_client(redis: Redis, tokens: list[VerifiedClaims]) -> None:
    """Ask from a coroutine for each request."""
    await asyncio.gather(*(redis.mget(claims.question.names) for claims in tokens))


async def _measure(ask: Round, together: int) -> tuple[float, float]:
    """The microseconds that each question takes: wall clock and CPU."""
    best_wall = best_cpu = float("inf")
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(QUESTIONS // ROUNDS // together):
            await ask()
        asked = QUESTIONS // ROUNDS // together * together
        best_wall = min(best_wall, (time.perf_counter() - wall) / asked)
        best_cpu = min(best_cpu, (time.process_time() - cpu) / asked)
    return best_wall * 1e6, best_cpu * 1e6


async def _run(url: str) -> None:
    print(f"{'asked together':>14}  {'':12}  {'wall us':>8}  {'CPU us':>8}")
    async with Redis.from_url(url, retry=None) as redis:
        link = link_to(redis, timeout_s=5)
        await link.open()
        admission = Admission(link, SystemClock())
        for together in TOGETHER:
            tokens = [_claims(number) for number in range(together)]
            ways: dict[str, Round] = {
                "redis-py": lambda tokens=tokens: _by_client(redis, tokens),  # type: ignore[misc]  # bound now
                "link": lambda tokens=tokens: _by_link(admission, tokens),  # type: ignore[misc]  # bound now
            }
            for name, ask in ways.items():
                wall, cpu = await _measure(ask, together)
                print(f"{together:>14}  {name:12}  {wall:8.1f}  {cpu:8.1f}")
        await link.close()


def main() -> None:
    """Measure, and print a table."""
    if len(sys.argv) > 1:
        uvloop.run(_run(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder, redis_server.socket_path(Path(folder)) as socket:
        child = redis_server.redis_child(Path(folder) / "data", socket, env=os.environ)
        with subprocess.Popen(child.argv, env=child.env, stdout=subprocess.DEVNULL) as process:
            try:
                while not socket.exists() and process.poll() is None:
                    os.sched_yield()
                uvloop.run(_run(redis_server.socket_url(socket)))
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
