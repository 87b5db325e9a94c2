"""The goals beside what was reached: the same run measures an earlier checkout and this one, in turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.calls import HEALTH, LOGIN, REFRESH, REVOKE, Calls
from bench.node import Balance, Memory
from bench.paired import Full, Tail
from bench.sweeps import Sweep
from bench.table import TOKENS
from bench.trees import Grove, Tree, describe
from bench.verifying import Cost

SHARE: Final = 0.55
SHARE_OPTIMISED: Final = 0.65
TAIL_RATIO: Final = 3
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """What the goals are about.

    Attributes:
        full: every tree by every interpreter.
        tails: by tree, like all that follow.
        tokens: the sweep over distinct tokens.
        starts: seconds until the demo stack is ready.
        sockets: microseconds for each WebSocket.
        sessions: bytes of Redis' memory for each session.
    """

    full: Sequence[Full]
    tails: Sequence[Tail]
    tokens: Sweep
    calls: Sequence[Calls]
    checks: Mapping[Tree, Sequence[Cost]]
    balances: Mapping[Tree, Balance]
    memories: Mapping[Tree, Memory]
    starts: Mapping[Tree, float]
    sockets: Mapping[Tree, float]
    sessions: Mapping[Tree, float]


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table.

    Attributes:
        figures: what was measured, by the label of a tree.
        limit: what is to be reached.
        earlier: what the earlier checkout reached on the machine that the goals were set on.
        at_least: whether more is better.
        form: of the figures, as a format specification.
    """

    what: str
    figures: Mapping[str, float]
    limit: float
    earlier: float | None = None
    at_least: bool = False
    form: str = ",.0f"

    def row(self, before: Tree | None, now: Tree) -> str:
        """The line as Markdown."""
        then = None if before is None else self.figures.get(before.label)
        reached = self.figures.get(now.label)
        there = self.earlier * reached / then if self.earlier and reached and then else None
        sign = "≥" if self.at_least else "≤"
        limit = f"{sign} {self._show(self.limit)}"
        shown = [self._show(self.earlier), self._show(then), limit, self._show(reached), self._show(there)]
        return f"| {' | '.join([self.what, *shown, self._judge(reached, there)])} |"

    def _judge(self, reached: float | None, there: float | None) -> str:
        if reached is None:
            return ""
        if self._meets(reached):
            return "yes"
        return "by ratio" if there is not None and self._meets(there) else "**no**"

    def _meets(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def _show(self, value: float | None) -> str:
        return "" if value is None else format(value, self.form)


def text(measured: Measured, grove: Grove) -> str:
    """All goals, and then the figures that stand behind the first of them."""
    goals = [*_against_nginx(measured, grove), *_checks(measured), *_calls(measured), *_node(measured)]
    lines = [
        "| what | then, before | before | goal | reached | by ratio | met |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    lines += [goal.row(grove.before, grove.now) for goal in goals]
    lines += ["", *_full_load(measured.full, grove), "", *_tails(measured.tails)]
    return "\n".join(lines)


def _against_nginx(measured: Measured, grove: Grove) -> Iterator[Goal]:
    for python in filter(None, (grove.now.python, grove.optimised)):
        is_optimised = python == grove.optimised
        yield Goal(
            f"share of plain nginx, {describe(python)}" + ", built with PGO" * is_optimised,
            {one.tree.label: one.share for one in measured.full if one.tree.python == python},
            SHARE_OPTIMISED if is_optimised else SHARE,
            earlier=0.47 if is_optimised else 0.39,
            at_least=True,
            form=".2f",
        )
    many = {tree.label: measured.tokens.share(tree.label, 100_000) for tree in grove.pair}
    parts = {}
    for tree in grove.pair:
        some, usual = (measured.tokens.share(tree.label, count) for count in (10_000, TOKENS))
        parts[tree.label] = some / usual if some and usual else None
    yield Goal("10,000 tokens, as a part of the figure for 2,000", _known(parts), 0.95, 0.64, at_least=True, form=".2f")
    yield Goal("100,000 tokens, share of plain nginx", _known(many), 0.30, 0.06, at_least=True, form=".2f")
    alone = {one.tree.label: one.alone for one in measured.full if one.tree.python == grove.now.python}
    yield Goal("one connection alone, CPU per request against nginx", _known(alone), 2.2, 3.1, form=".1f")
    yield Goal("p99 at half load, ms", {one.tree.label: one.p99_ms for one in measured.tails}, 1.5, form=".2f")
    yield Goal("the same, times nginx", {one.tree.label: one.ratio for one in measured.tails}, TAIL_RATIO, form=".1f")


def _checks(measured: Measured) -> Iterator[Goal]:
    costs = [(tree.label, cost) for tree, found in measured.checks.items() for cost in found]
    for alg, limit, earlier in (("ES256", 75, 144), ("EdDSA", 85, 178)):
        first = {label: cost.first for label, cost in costs if cost.alg == alg}
        yield Goal(f"first check of a token by a node, {alg}, µs", first, limit, earlier)
    elsewhere = {label: cost.by_another for label, cost in costs if cost.alg == "ES256"}
    yield Goal("check by another worker of the same node, ES256, µs", elsewhere, 22, 144)


def _calls(measured: Measured) -> Iterator[Goal]:
    refreshes = {one.tree.label: one.both_us for one in measured.calls if one.name == REFRESH}
    for name, limit, earlier in ((REFRESH, 450, 2900), (LOGIN, 500, 2700), (REVOKE, 300, 700), (HEALTH, 60, 170)):
        found = {one.tree.label: one.gateway_us for one in measured.calls if one.name == name}
        yield Goal(f"{name}, gateway, µs of CPU", found, limit, earlier)
        if name == REFRESH:
            yield Goal(f"{name}, gateway and users service, µs of CPU", refreshes, 1000, 5600)


def _node(measured: Measured) -> Iterator[Goal]:
    for count, limit in ((64, 1.5), (256, 1.3)):
        fresh = {tree.label: one.fresh[count] for tree, one in measured.balances.items()}
        restarted = {tree.label: one.restarted[count] for tree, one in measured.balances.items()}
        yield Goal(f"{count} connections of two workers, most to least", fresh, limit, form=".1f")
        yield Goal("the same after one worker was killed", restarted, limit, form=".1f")
    memories = {tree.label: one for tree, one in measured.memories.items()}
    first = {label: one.first / _MB for label, one in memories.items()}
    yield Goal("memory of a node with one worker after its start, MB", first, 65)
    yield Goal("of each further worker, MB", {label: one.further / _MB for label, one in memories.items()}, 20)
    sockets = {tree.label: cost for tree, cost in measured.sockets.items()}
    yield Goal("opening a WebSocket and closing it, µs of CPU", sockets, 300, 650)
    starts = {tree.label: seconds for tree, seconds in measured.starts.items()}
    yield Goal("`lockgate dev` to ready, with its data there, s", starts, 2.5, 4.5, form=".1f")
    sessions = {tree.label: size for tree, size in measured.sessions.items()}
    yield Goal("Redis memory for a session, bytes", sessions, 700)


def _known(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {label: figure for label, figure in figures.items() if figure is not None}


def _full_load(full: Sequence[Full], grove: Grove) -> list[str]:
    if not full:
        return []
    lines = [
        "| under full load | interpreter | requests/s | share | µs of CPU | alone, times nginx | failed |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for one in full:
        python = describe(one.tree.python) + ", PGO" * (one.tree.python == grove.optimised)
        cells = [
            one.tree.label,
            python,
            f"{one.rate:,.0f}",
            f"{one.share:.2f}",
            f"{one.cpu_us:.1f}",
            "" if one.alone is None else f"{one.alone:.1f}",
            f"{one.failed}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _tails(tails: Sequence[Tail]) -> list[str]:
    if not tails:
        return []
    lines = [
        "| at half load | requests/s | p99, ms | nginx, ms | times nginx | failed |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for one in tails:
        cells = [
            one.tree.label,
            f"{one.rate:,.0f}",
            f"{one.p99_ms:.2f}",
            f"{one.nginx_ms:.2f}",
            f"{one.ratio:.1f}",
            f"{one.failed}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
