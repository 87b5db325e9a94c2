"""Link keys of the package for node, which follow their files (R-225, R-215)."""

from __future__ import annotations

import json
import secrets
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest

from lockgate_trust import LinkKeyError, LinkKeys, create_link, link_path
from tests.support import node_service
from tests.support.accounts import FOREIGN_GROUP, GROUP, NOBODY, give, needs_root, open_folder
from tests.support.node_modules import node, project
from tests.support.node_service import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.node_service import NodeService

pytestmark = pytest.mark.process

Document = dict[str, Any]
OTHER: Final = 1


def run(folder: Path, source: str) -> str:
    """What a program prints that has `lockgate-trust` installed."""
    argv = [node(), "--input-type=module", "--eval", source]
    cwd = project(folder, PROGRAMS)
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own program


def change(path: Path, edit: Callable[[Document], object]) -> None:
    """Replace a file, as a rotation does."""
    document = json.loads(path.read_text())
    edit(document)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document))
    fresh.chmod(0o600)
    fresh.replace(path)


def appended(document: Document) -> None:
    document["keys"].append({"id": "gateway.orders.new", "secret": secrets.token_urlsafe(32), "state": "next"})


def promoted(document: Document) -> None:
    document["keys"].reverse()


def trimmed(document: Document) -> None:
    document["keys"].pop()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeService]:
    """A service that looks at its files for each request."""
    with node_service.running(tmp_path_factory.mktemp("node"), "express") as running:
        yield running


def served(service: NodeService, **more: Any) -> bool:  # noqa: ANN401 - as `identity_headers`
    answer = service.ask("GET", "/orders/7", service.signed("GET", "/orders/7", **more))
    said = service.said()
    assert said == {"served": 0} if answer.status_code == 200 else said["refused"] == "unknown_key"
    return answer.status_code == 200


def test_r225_what_either_key_signs_is_served_in_every_step_of_a_rotation(service: NodeService) -> None:
    path = link_path(service.links, "gateway", "orders")
    old = service.key
    for step in (appended, promoted):
        change(path, step)
        assert served(service, key=old)
        assert served(service)
    assert service.key.key_id == "gateway.orders.new"
    change(path, trimmed)
    assert not served(service, key=old)
    assert served(service)


@pytest.mark.parametrize("content", ["{", '{"origin": "gateway", "target": "orders", "keys": []}', "null", "[]"])
def test_r225_a_bad_file_keeps_the_last_good_keys(service: NodeService, content: str) -> None:
    path = link_path(service.links, "gateway", "orders")
    good, key = path.read_text(), service.key
    path.write_text(content)
    assert served(service, key=key)
    path.write_text(good)
    assert served(service)


def test_a_link_that_is_added_or_removed_is_noticed(service: NodeService) -> None:
    create_link(service.links, "users", "orders")
    key = LinkKeys.load(service.links, "users").outbound("orders")
    assert served(service, key=key)
    link_path(service.links, "users", "orders").unlink()
    assert not served(service, key=key)


def test_files_are_looked_at_once_a_second_and_a_problem_is_told_once_and_goes_away(tmp_path: Path) -> None:
    links = tmp_path / "links"
    create_link(links, "gateway", "orders")
    key = LinkKeys.load(links, "gateway").outbound("orders")
    source = f"""
import fs from "node:fs";
import {{ LiveLinkKeys }} from "lockgate-trust";
const folder = {str(links)!r};
const path = `${{folder}}/gateway--orders.json`;
const good = fs.readFileSync(path, "utf8");
let now = 0;
const log = [];
const keys = new LiveLinkKeys(folder, "orders", {{ clock: () => now, log: (line) => log.push(line) }});
fs.writeFileSync(path, "{{");
const told = [];
for (now of [0.99, 1, 2, 3]) told.push([keys.problem, keys.inbound({key.key_id!r}) !== null]);
fs.writeFileSync(path, good);
now = 4;
told.push([keys.problem, keys.inbound({key.key_id!r}) !== null]);
console.log(JSON.stringify({{ told, log, shown: JSON.stringify(keys.inbound({key.key_id!r})) }}));
"""
    said = json.loads(run(tmp_path, source))
    problems, known = zip(*said["told"], strict=True)
    wrong = f"{links}/gateway--orders.json: it is not an object of origin, target and keys"
    assert problems == (None, wrong, wrong, wrong, None)
    assert all(known)
    assert [line.count(wrong) for line in said["log"]] == [1]
    assert json.loads(said["shown"]) == {"id": key.key_id, "origin": "gateway", "target": "orders"}


SECRET: Final = secrets.token_urlsafe(32)
KEY: Final = {"id": "gateway.orders.1", "secret": SECRET}
LINK: Final = {"origin": "gateway", "target": "orders", "keys": [KEY]}


BAD_FILES: Final[tuple[Document, ...]] = (
    {},
    {**LINK, "more": 1},
    {**LINK, "origin": "users"},
    {**LINK, "target": "products"},
    {**LINK, "keys": {}},
    {**LINK, "keys": []},
    {**LINK, "keys": [KEY, KEY]},
    {**LINK, "keys": [KEY, {**KEY, "id": "gateway.orders.2"}]},
    {**LINK, "keys": [{"id": f"gateway.orders.{n}", "secret": secrets.token_urlsafe(32)} for n in range(3)]},
    {**LINK, "keys": [{**KEY, "algorithm": "none"}]},
    {**LINK, "keys": [{"id": "gateway.orders.1"}]},
    {**LINK, "keys": [None]},
    {**LINK, "keys": [{**KEY, "id": 1}]},
    {**LINK, "keys": [{**KEY, "id": "a b"}]},
    {**LINK, "keys": [{**KEY, "secret": secrets.token_urlsafe(31)}]},
    {**LINK, "keys": [{**KEY, "secret": f"{SECRET}="}]},
    {**LINK, "keys": [{**KEY, "secret": f"{SECRET[:-1]}B"}]},
    {**LINK, "keys": [{**KEY, "secret": f"{SECRET} "}]},
)

LOAD_EACH: Final = """
import { LinkKeyError, LinkKeys } from "lockgate-trust";
%s
for (const folder of %s) {
  try { LinkKeys.load(folder, "orders"); console.log("taken"); }
  catch (error) { console.log(error instanceof LinkKeyError ? `refused ${error.message}` : error); }
}
"""


def load_each(folder: Path, folders: list[Path], account: str = "") -> list[str]:
    """What the package for node makes of each folder with link keys."""
    return run(folder, LOAD_EACH % (account, json.dumps([str(each) for each in folders]))).splitlines()


def test_r311_a_file_that_the_python_package_refuses_is_refused_without_its_secret(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(len(BAD_FILES))]
    for folder, document in zip(folders, BAD_FILES, strict=True):
        folder.mkdir()
        path = folder / "gateway--orders.json"
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        with pytest.raises(LinkKeyError):
            LinkKeys.load(folder, "orders")
    said = load_each(tmp_path, folders)
    assert [line.split()[0] for line in said] == ["refused"] * len(BAD_FILES)
    assert SECRET not in str(said)


def test_a_service_without_keys_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    [empty, missing] = load_each(tmp_path, [tmp_path / "empty", tmp_path / "missing"])
    assert empty.startswith("refused no link key file")
    assert missing.endswith("missing: cannot be read (ENOENT)")


def test_r215_a_key_file_is_taken_by_the_rule_of_the_python_package(tmp_path: Path) -> None:
    """With a real account and group, as `tests/trust/test_private.py` has it for Python."""
    needs_root()
    cases = (
        (NOBODY, NOBODY, 0o600, "taken"),
        (0, GROUP, 0o440, "taken"),
        (0, GROUP, 0o640, "taken"),
        (NOBODY, NOBODY, 0o640, "refused"),
        (OTHER, GROUP, 0o440, "refused"),
        (0, GROUP, 0o444, "refused"),
        (0, FOREIGN_GROUP, 0o440, "refused"),
        (0, FOREIGN_GROUP, 0o444, "refused"),
    )
    with open_folder() as folder:
        folders = [folder / str(number) for number in range(len(cases))]
        for each, (owner, group, mode, _) in zip(folders, cases, strict=True):
            create_link(each, "gateway", "orders")
            each.chmod(0o755)
            give(each / "gateway--orders.json", owner, group, mode)
        account = f"process.setgroups([{GROUP}]); process.setgid({NOBODY}); process.setuid({NOBODY});"
        said = load_each(tmp_path, folders, account)
    assert [line.split()[0] for line in said] == [outcome for *_, outcome in cases]
    told = [line.partition(": ")[2] for line, (*_, outcome) in zip(said, cases, strict=True) if outcome == "refused"]
    assert {each.partition(":")[0] for each in told} == {"readable by others", "cannot be read (EACCES)"}
