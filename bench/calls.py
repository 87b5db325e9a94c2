"""What the gateway's own calls cost: login, refresh, revocation, introspection, and the probe that does nothing."""

from __future__ import annotations

import base64
import itertools
import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import uvloop

from bench import accounts, tokens
from bench.accounts import PASSWORD, Place
from bench.client import Client, Turn, closed_loop, request
from bench.site import Site
from bench.trees import Tree

HEALTH: Final = "`/healthz`"
REFRESH: Final = "refresh"
LOGIN: Final = "login, without the hash"
REVOKE: Final = "revoke"
INTROSPECT: Final = "introspect"
_CLIENTS: Final = 32
_REVOKED: Final = 20_000
_INTROSPECTED: Final = 1_000
_READER: Final = "bench-reader"


@dataclass(frozen=True, slots=True)
class Calls:
    """One kind of call to one gateway, medians over the rounds.

    Attributes:
        tree: the name of the gateway's tree.
        rate: responses per second.
        gateway_us, users_us: processor time of the gateway and of the users service per call, in microseconds.
        failed: responses other than 200.
    """

    name: str
    tree: Tree
    rate: float
    gateway_us: float
    users_us: float
    failed: int

    @property
    def both_us(self) -> float:
        """Processor time of both per call, in microseconds."""
        return self.gateway_us + self.users_us


@dataclass(frozen=True, slots=True)
class _Round:
    rate: float
    gateway_us: float
    users_us: float
    failed: int


def measure(site: Site, trees: Sequence[Tree], rounds: int, seconds: float, say: Callable[[str], None]) -> list[Calls]:
    """Each kind of call in turns between the trees; each gateway has the same core, all other programs the other."""
    cores = site.cores
    found: list[Calls] = []
    with ExitStack() as stack:
        places = [
            stack.enter_context(
                accounts.opened(
                    site, f"calls-{tree.name}", tree=tree, gateway=cores.gateway, users=cores.load, hashed=False
                )
            )
            for tree in trees
        ]
        turns = [_turns(place, tree) for place, tree in zip(places, trees, strict=True)]
        for name in turns[0]:
            results: list[list[_Round]] = [[] for _ in trees]
            for number in range(rounds + 1):
                for place, own, result in zip(places, turns, results, strict=True):
                    one = _measured(place, own[name], seconds if number else 1)
                    if number:
                        result.append(one)
            for tree, result in zip(trees, results, strict=True):
                found.append(_summed(name, tree, result))
                say(f"{name}: {tree.name} {found[-1].gateway_us:,.0f} us, users {found[-1].users_us:,.0f} us")
    return found


def text(found: Sequence[Calls]) -> str:
    """The table as Markdown."""
    lines = [
        "| call | by | answered, 1/s | µs of CPU, gateway | µs of CPU, users service | a core does, 1/s | failed |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {one.name} | {one.tree.label} | {one.rate:,.0f} | {one.gateway_us:,.0f} | {one.users_us:,.0f} "
        f"| {1e6 / one.gateway_us:,.0f} | {one.failed} |"
        for one in found
    ]
    return "\n".join(lines)


def _measured(place: Place, turns: Sequence[Turn], seconds: float) -> _Round:
    before = place.gateway.cpu_s(), place.users.cpu_s()
    done = uvloop.run(closed_loop(place.port, turns, seconds))
    after = place.gateway.cpu_s(), place.users.cpu_s()
    gateway, users = ((late - early) / done.statuses.total() * 1e6 for early, late in zip(before, after, strict=True))
    return _Round(done.rate, gateway, users, done.failed)


def _summed(name: str, tree: Tree, rounds: Sequence[_Round]) -> Calls:
    return Calls(
        name,
        tree,
        rate=statistics.median(one.rate for one in rounds),
        gateway_us=statistics.median(one.gateway_us for one in rounds),
        users_us=statistics.median(one.users_us for one in rounds),
        failed=sum(one.failed for one in rounds),
    )


def _turns(place: Place, tree: Tree) -> dict[str, list[Turn]]:
    """By kind of call, what each client does."""
    return {
        HEALTH: [_ask_health] * _CLIENTS,
        REFRESH: uvloop.run(_refreshing(place)),
        LOGIN: [_logging_in(place)] * _CLIENTS,
        REVOKE: [_revoking(place)] * _CLIENTS,
        INTROSPECT: [_introspecting(place, tree)] * _CLIENTS,
    }


async def _ask_health(client: Client) -> int:
    return (await client.ask(request("GET", "/healthz"))).status


async def _refreshing(place: Place) -> list[Turn]:
    """Users with a session that refresh on and on."""
    client = await Client.connect(place.port)

    async def person(name: str) -> Turn:
        content = {"username": name, "password": PASSWORD}
        token: str = (await client.ask(request("POST", "/auth/login", content=content))).json["refresh_token"]

        async def refresh(connection: Client) -> int:
            nonlocal token
            answer = await connection.ask(request("POST", "/auth/refresh", content={"refresh_token": token}))
            token = answer.json.get("refresh_token", token)
            return answer.status

        return refresh

    return [await person(name) for name in place.names[:_CLIENTS]]


def _logging_in(place: Place) -> Turn:
    """The users that do not refresh, one after the other."""
    names = itertools.cycle(place.names[_CLIENTS:])

    async def log_in(client: Client) -> int:
        content = {"username": next(names), "password": PASSWORD}
        return (await client.ask(request("POST", "/auth/login", content=content))).status

    return log_in


def _revoking(place: Place) -> Turn:
    """Access tokens, each revoked once as long as there are any."""
    texts = itertools.cycle(tokens.own(_REVOKED, place.keys))

    async def revoke(client: Client) -> int:
        return (await client.ask(request("POST", "/auth/revoke", content={"token": next(texts)}))).status

    return revoke


def _introspecting(place: Place, tree: Tree) -> Turn:
    """A client with a secret asks about access tokens."""
    # fmt: off
    added = tree.run("-m", "lockgate.cli", "clients", "add", "--scope", tokens.SCOPES[0], "--config",
                     str(place.configuration), "--json", f"{_READER}-{place.port}")
    # fmt: on
    client_of = json.loads(added)
    pair = f"{client_of['client_id']}:{client_of['client_secret']}"
    fields = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    texts = itertools.cycle(tokens.own(_INTROSPECTED, place.keys))

    async def introspect(client: Client) -> int:
        question = request("POST", "/auth/introspect", content={"token": next(texts)}, fields=fields)
        return (await client.ask(question)).status

    return introspect
