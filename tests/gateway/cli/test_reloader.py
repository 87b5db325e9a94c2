"""One configuration file, two workers: both take its rules or none of them does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from lockgate.cli import keys
from lockgate.cli.configuration import Configured
from lockgate.cli.lone_worker import OwnWorker
from lockgate.cli.reloader import TOLD_OF_FAULTS, Reloader
from lockgate.settings import Settings, load_settings
from tests.support import node as nodes
from tests.support.node import Node

ROUTE: Final = """
[[route]]
name = "{name}"
prefix = "/{name}"
service = "{service}"
upstreams = ["http://127.0.0.1:1"]
auth = "public"
methods = ["GET"]
"""


def route(name: str, service: str = "orders") -> str:
    return ROUTE.format(name=name, service=service)


@dataclass
class TwoWorkers:
    """Two workers that run by one file, each with keys of its own.

    Attributes:
        said: what the supervisor has reported.
    """

    file: Path
    one: Node
    other: Node
    reloader: Reloader
    said: list[str]

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def revisions(self) -> list[str]:
        return [node.worker.rule_change.revision for node in (self.one, self.other)]

    async def statuses(self, path: str) -> list[int]:
        return [(await node.get(path)).status for node in (self.one, self.other)]

    async def lines(self) -> list[str]:
        """What `/readyz` says of the rules."""
        return [(await node.get("/readyz")).json["checks"]["rules"] for node in (self.one, self.other)]


def parser(file: Path, redis_url: str, folder: Path) -> Callable[[str], Settings]:
    environ = {"REDIS_URL": redis_url, "LOCKGATE_KEYS__DIRECTORY": str(folder)}
    environ["LOCKGATE_UPSTREAMS"] = json.dumps({"users": ["http://127.0.0.1:1"]})

    def parse(text: str) -> Settings:
        return load_settings(file, environ, text=text)

    return parse


@pytest_asyncio.fixture
async def workers(redis_url: str, tmp_path: Path) -> AsyncIterator[TwoWorkers]:
    file, text, said = tmp_path / "lockgate.toml", route("a"), list[str]()
    file.write_text(text)
    parsers = [parser(file, redis_url, tmp_path / name) for name in ("one", "other")]
    for parse in parsers:
        keys.create_missing(parse(text))
    async with nodes.running(parsers[0](text)) as one, nodes.running(parsers[1](text)) as other:
        reloader = Reloader(Configured(file, text, parsers[0]), said.append)
        for node, parse in zip((one, other), parsers, strict=True):
            reloader.workers.add(OwnWorker(node.worker.rule_change, parse))
        yield TwoWorkers(file, one, other, reloader, said)


async def test_all_workers_take_new_rules(workers: TwoWorkers) -> None:
    """R-290."""
    workers.write(route("a") + route("b"))
    outcome = await workers.reloader.reload()
    assert [change.place for change in outcome.changes] == ["route.b"]
    assert workers.revisions() == [outcome.revision, outcome.revision]
    assert await workers.statuses("/b") == [502, 502]
    assert workers.said == [f"reloaded, revision {outcome.revision}: route.b"]
    assert (await workers.reloader.reload()).changes == ()


async def test_one_worker_that_refuses_makes_all_keep_their_rules(workers: TwoWorkers, tmp_path: Path) -> None:
    """R-290: the other worker had them prepared already."""
    before = workers.revisions()
    workers.write(route("a") + route("b", service="wiki"))
    parse = parser(workers.file, "redis://unused", tmp_path / "one")
    keys.create_missing(parse(workers.file.read_text()))
    outcome = await workers.reloader.reload()
    assert "no link to 'wiki'" in (outcome.problem or "")
    assert workers.revisions() == before
    assert await workers.statuses("/b") == [404, 404]
    assert all(line.startswith(f"warning: {TOLD_OF_FAULTS}") for line in await workers.lines())
    keys.create_missing(parser(workers.file, "redis://unused", tmp_path / "other")(workers.file.read_text()))
    assert (await workers.reloader.reload()).problem is None
    assert await workers.statuses("/b") == [502, 502]
    assert await workers.lines() == ["ok", "ok"]


@pytest.mark.parametrize("text", ["[[route]", '[[route]]\nname = "b"\n', "[serve]\nport = 1\n"])
async def test_a_broken_file_keeps_the_rules_and_is_named(workers: TwoWorkers, text: str) -> None:
    """R-294, R-295: also after the file has come back as it was."""
    before = workers.revisions()
    workers.write(text)
    outcome = await workers.reloader.reload()
    assert str(workers.file) in (outcome.problem or "")
    assert workers.revisions() == before
    assert [node.worker.rule_change.state.refused for node in (workers.one, workers.other)] == [1, 1]
    assert str(workers.file) not in "".join(await workers.lines())
    workers.write(route("a"))
    assert (await workers.reloader.reload()).problem is None
    assert await workers.lines() == ["ok", "ok"]


async def test_a_setting_that_needs_a_restart_is_named_to_operators_and_on_readyz(workers: TwoWorkers) -> None:
    """R-294: no part of the file is taken."""
    workers.write('[token]\naudience = "other"\n' + route("b"))
    outcome = await workers.reloader.reload()
    assert outcome.problem == "a restart is needed for token.audience"
    assert await workers.statuses("/b") == [404, 404]
    assert all("a restart is needed for token.audience; the rules of" in line for line in await workers.lines())


async def test_a_changed_file_is_taken_when_two_looks_have_found_it_the_same(workers: TwoWorkers) -> None:
    """R-296: a file that is still being written is no configuration."""
    before = workers.revisions()
    workers.write(route("a") + route("b"))
    await workers.reloader.look()
    assert workers.revisions() == before
    workers.write(route("a") + route("b") + route("c"))
    await workers.reloader.look()
    assert workers.revisions() == before
    await workers.reloader.look()
    assert await workers.statuses("/c") == [502, 502]
    taken = workers.reloader.taken
    await workers.reloader.look()
    await workers.reloader.look()
    assert workers.reloader.taken == taken == 1


async def test_a_refused_file_is_refused_once_for_each_change(workers: TwoWorkers) -> None:
    """R-295."""
    for number in (1, 2):
        workers.write("[" * number)
        for _ in range(5):
            await workers.reloader.look()
        assert workers.reloader.refused == number


async def test_a_reload_during_a_reload_waits_and_reads_the_file_again(workers: TwoWorkers) -> None:
    """R-290: the rules at the end are those of the file at the end."""
    workers.write(route("a") + route("b", service="wiki"))
    first = asyncio.create_task(workers.reloader.reload())
    await asyncio.sleep(0)
    workers.write(route("a") + route("c"))
    second = asyncio.create_task(workers.reloader.reload())
    assert (await first).problem is not None
    assert (await second).problem is None
    assert await workers.statuses("/b") == [404, 404]
    assert await workers.statuses("/c") == [502, 502]


async def test_a_comparison_changes_nothing(workers: TwoWorkers) -> None:
    """R-297."""
    before = workers.revisions()
    workers.write(route("b"))
    outcome = await workers.reloader.compare()
    assert [change.place for change in outcome.changes if change.before is None] == ["route.b"]
    assert [change.place for change in outcome.changes if change.after is None] == ["route.a"]
    assert workers.revisions() == before
    workers.write('[token]\naudience = "other"\n' + route("b"))
    assert await workers.reloader.compare() == outcome._replace(problem="a restart is needed for token.audience")


async def test_a_worker_that_is_added_later_is_part_of_the_next_reload(workers: TwoWorkers) -> None:
    """R-290."""
    added = next(iter(workers.reloader.workers))
    workers.reloader.workers.discard(added)
    workers.write(route("b"))
    await workers.reloader.reload()
    workers.reloader.workers.add(added)
    workers.write(route("c"))
    assert len(set(workers.revisions())) == 2
    await workers.reloader.reload()
    assert len(set(workers.revisions())) == 1
