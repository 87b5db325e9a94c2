"""`python -m bench.lookups --before CHECKOUT`: what a request costs the users service, without a gateway in front.

Measured are the two look-ups behind login and refresh, and a user's profile, which the framework serves. Services
of two checkouts are called in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg  # type: ignore[import-untyped]
import uvloop
from sqlalchemy.engine import make_url

from bench import page
from bench.accounts import PASSWORD, WITHOUT_HASH
from bench.client import Client, request
from bench.machine import Command, Running, free_port, started
from bench.site import wait_for_port
from bench.trees import OWN, Tree
from lockgate_trust import LinkKey, LinkKeys, create_link, signed_headers, token_headers

PEOPLE: Final = 20
_CLIENTS: Final = 16
_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True, slots=True)
class Users:
    """A users service that runs.

    Attributes:
        name: of the figures: database and checkout.
        key: signs the gateway's requests.
        subs: the ids of its accounts, in the order of their names.
    """

    name: tuple[str, str]
    running: Running
    port: int
    key: LinkKey
    subs: tuple[str, ...]


def signed_request(key: LinkKey, method: str, path: str, content: object = None, user: str | None = None) -> bytes:
    """A request as the gateway signs it."""
    body = b"" if content is None else json.dumps(content).encode()
    identity = [("x-request-id", secrets.token_hex(8)), ("traceparent", _TRACE), *token_headers(user_id=user)]
    fields = dict(
        signed_headers(key, method=method, path=path, query="", headers=identity, body=body or None, now=time.time())
    )
    return request(method, path, content=content, fields=fields)


def _look_up(service: Users, number: int) -> bytes:
    return signed_request(service.key, "GET", f"/internal/accounts/{service.subs[number % PEOPLE]}")


def _verify(service: Users, number: int) -> bytes:
    content = {"username": f"person-{number % PEOPLE}", "password": PASSWORD}
    return signed_request(service.key, "POST", "/internal/credentials/verify", content)


def _read_profile(service: Users, number: int) -> bytes:
    return signed_request(service.key, "GET", "/users/me", user=service.subs[number % PEOPLE])


CALLS: Final[Mapping[str, Callable[[Users, int], bytes]]] = {
    "account of a refresh": _look_up,
    "credentials of a login, without the hash": _verify,
    "own profile": _read_profile,
}


def open_users(stack: ExitStack, folder: Path, tree: Tree, database: str, url: str) -> Users:
    """Start a users service with accounts whose passwords cost next to nothing."""
    folder.mkdir()
    create_link(folder / "links", "gateway", "users")
    port = free_port()
    env = {"USERS_LINK_KEYS": str(folder / "links"), "USERS_DATABASE_URL": url, "USERS_HASHING_THREADS": "1"}
    argv = [str(tree.python), "-P", "-c", WITHOUT_HASH, "--port", str(port)]
    command = Command(argv, {**tree.env, **env}, folder)
    running = stack.enter_context(started(command, None, folder / "log"))
    wait_for_port(running, "users", port)
    key = LinkKeys.load(folder / "links", "gateway").outbound("users")
    return Users((database, tree.name), running, port, key, uvloop.run(_register(port, key)))


async def _register(port: int, key: LinkKey) -> tuple[str, ...]:
    client = await Client.connect(port)
    subs = []
    for number in range(PEOPLE):
        content = {"username": f"person-{number}", "password": PASSWORD, "email": f"person-{number}@example.org"}
        subs.append((await client.ask(signed_request(key, "POST", "/users/register", content))).json["id"])
    client.close()
    return tuple(subs)


async def measure_call(service: Users, call: Callable[[Users, int], bytes], laps: int) -> float:
    """Microseconds of processor time per request: sixteen at once, all responses awaited, then again.

    Raises:
        RuntimeError: a response was not 200.
    """
    clients = [await Client.connect(service.port) for _ in range(_CLIENTS)]
    numbers = itertools.count()
    before = 0.0
    for lap in range(laps + 3):
        if lap == 3:  # noqa: PLR2004 - the first ones warm up
            before = service.running.cpu_s()
        answers = await asyncio.gather(*(client.ask(call(service, next(numbers))) for client in clients))
        if any(answer.status != 200 for answer in answers):  # noqa: PLR2004 - OK
            raise RuntimeError(f"{service.name}: {answers[0].body!r}")
    spent = service.running.cpu_s() - before
    for client in clients:
        client.close()
    return spent / (laps * _CLIENTS) * 1e6


async def _new_database(server: str) -> str:
    name = f"bench_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(server)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def text(found: Mapping[tuple[str, str, str], Sequence[float]], trees: Sequence[Tree], minutes: float) -> str:
    """The table as Markdown: medians, and the median of the ratios of the rounds."""
    lines = [f"{page.measured(minutes)}. µs of processor time of the users service per request.", ""]
    lines += ["| call | database | before | now | now / before |", "|---|---|--:|--:|--:|"]
    for call, database in dict.fromkeys((call, database) for call, database, _ in found):
        before, now = (found[call, database, tree.name] for tree in (trees[0], trees[-1]))
        ratio = statistics.median(late / early for early, late in zip(before, now, strict=True))
        cells = (call, database, f"{statistics.median(before):,.0f}", f"{statistics.median(now):,.0f}", f"{ratio:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the page where an earlier checkout was given."""
    parser = argparse.ArgumentParser(prog="python -m bench.lookups", description="What the users service costs.")
    parser.add_argument("--before", type=Path, help="the root of an earlier checkout")
    parser.add_argument("--postgres", help="the URL of a PostgreSQL server, to measure with it too")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--laps", type=int, default=40, help=f"of {_CLIENTS} requests each, in a round")
    options = parser.parse_args()
    start = time.monotonic()
    trees = [*([Tree("before", "before", options.before.resolve())] if options.before else []), OWN]
    found: dict[tuple[str, str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as name, ExitStack() as stack:
        services = []
        for number, tree in enumerate(trees):
            folder = Path(name) / str(number)
            services.append(open_users(stack, folder, tree, "SQLite", f"sqlite:///{folder}/users.db"))
            if options.postgres:
                url = uvloop.run(_new_database(options.postgres))
                services.append(open_users(stack, folder / "postgres", tree, "PostgreSQL", url))
        for turn in range(options.rounds):
            for call, make in CALLS.items():
                for service in services if turn % 2 else reversed(services):
                    spent = uvloop.run(measure_call(service, make, options.laps))
                    found.setdefault((call, *service.name), []).append(spent)
    written = text(found, trees, (time.monotonic() - start) / 60)
    print(written)
    if options.before:
        page.write(page.DOCUMENT, "lookups", "python -m bench.lookups --before CHECKOUT --postgres URL", written)


if __name__ == "__main__":
    main()
