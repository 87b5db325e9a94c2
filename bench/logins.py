"""What logins cost beside the hash of the password, and the tables of calls and tokens.

Logins are held against the raw rate of Argon2id, with the same parameters and the same number of threads, on the same
cores: the rest of a login should take next to nothing. While logins use up the pool of threads, other requests are sent
at a constant rate, because a flood of logins may not slow down other requests (p99 under 20 ms).
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop
from argon2 import PasswordHasher

from bench import accounts, steady
from bench.accounts import PASSWORD, Place
from bench.client import Client, Turn, closed_loop, request
from bench.site import PATH, Site
from bench.steady import Latency
from bench.trees import Tree
from bench.wrk import Load
from lockgate_shop.users.passwords import MEMORY_KIB, PARALLELISM, TIME_COST

SHARE: Final = 0.95
P99_MS: Final = 20.0
OTHERS: Final = {"forwarded": PATH, "answered here": "/healthz"}
"""Requests of others, by kind."""
_OTHERS_PER_S: Final = 200
_WAITING: Final = 8
"""Logins under way for each thread that hashes."""


@dataclass(frozen=True, slots=True)
class Logins:
    """Logins with one number of threads.

    Attributes:
        raw: hashes per second with nothing around them.
        rate: logins per second.
        quiet, busy: latencies of other requests without logins and with them, by kind.
        failed: responses that were no login.
    """

    threads: int
    raw: float
    rate: float
    quiet: dict[str, Latency]
    busy: dict[str, Latency]
    failed: int

    @property
    def share(self) -> float:
        """The share of the raw rate."""
        return self.rate / self.raw


def raw_rate(threads: int, seconds: float) -> float:
    """Verified passwords per second by Argon2id alone, on all cores that this process has."""
    hasher = PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM)
    stored = hasher.hash(PASSWORD)
    start = time.perf_counter()

    def verify_on(_: int) -> int:
        for number in itertools.count(1):
            hasher.verify(stored, PASSWORD)
            if time.perf_counter() > start + seconds:
                return number
        raise AssertionError

    with ThreadPoolExecutor(threads) as pool:
        verified = sum(pool.map(verify_on, range(threads)))
    return verified / (time.perf_counter() - start)


def measure(site: Site, tree: Tree, threads: int, rounds: int, seconds: float) -> Logins:
    """Log in at full speed on all cores; then again, beside other requests."""
    raw, rates, failed = [raw_rate(threads, seconds)], [], 0
    with accounts.opened(site, f"logins-{threads}", tree=tree, threads=threads) as place:
        turns = _login_turns(place, _WAITING * threads)
        uvloop.run(closed_loop(place.port, turns, 1))
        for _ in range(rounds):
            done = uvloop.run(closed_loop(place.port, turns, seconds))
            rates.append(done.rate)
            failed += done.failed
            raw.append(raw_rate(threads, seconds))
        load = Load(place.port, Path(), place.token_file(site.folder, 100))
        quiet = {kind: steady.measure(load, path, _OTHERS_PER_S, seconds, None) for kind, path in OTHERS.items()}
        busy = {kind: uvloop.run(_beside_logins(load, path, turns, seconds)) for kind, path in OTHERS.items()}
    return Logins(threads, statistics.median(raw), statistics.median(rates), quiet, busy, failed)


async def _beside_logins(load: Load, path: str, turns: Sequence[Turn], seconds: float) -> Latency:
    beside = asyncio.create_task(closed_loop(load.port, turns, seconds + 2))
    latency = await asyncio.to_thread(steady.measure, load, path, _OTHERS_PER_S, seconds, None)
    await beside
    return latency


def _login_turns(place: Place, count: int) -> list[Turn]:
    names = itertools.cycle(place.names)

    async def log_in(client: Client) -> int:
        content = {"username": next(names), "password": PASSWORD}
        return (await client.ask(request("POST", "/auth/login", content=content))).status

    return [log_in] * count


def text(one: Logins) -> str:
    """The table as Markdown."""
    quiet, busy = (
        ", ".join(f"{latency.p99_ms:.1f} {kind}" for kind, latency in both.items()) for both in (one.quiet, one.busy)
    )
    return "\n".join(
        [
            f"Argon2id with t={TIME_COST}, m={MEMORY_KIB // 1024} MiB, p={PARALLELISM}:",
            "",
            "| hashing threads | Argon2id, 1/s | logins, 1/s | share | p99 of others, ms | beside logins | failed |",
            "|--:|--:|--:|--:|--:|--:|--:|",
            f"| {one.threads} | {one.raw:.1f} | {one.rate:.1f} | {one.share:.2f} | {quiet} | {busy} | {one.failed} |",
        ]
    )


def missed(one: Logins) -> list[str]:
    """The goals that were not reached, in words."""
    said = []
    if one.share < SHARE:
        said.append(f"{one.threads} threads: {one.share:.2f} of the raw rate, the goal is {SHARE}")
    said += [
        f"{one.threads} threads: p99 of requests {kind} is {latency.p99_ms:.1f} ms, the goal is {P99_MS}"
        for kind, latency in one.busy.items()
        if latency.p99_ms > P99_MS
    ]
    return said
