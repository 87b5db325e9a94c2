"""The container of `compose.yaml` that runs once and hands out keys: its script, on folders instead of volumes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from lockgate.keys import keyring
from lockgate_trust import LinkKeyError, LinkKeys
from tests.support.compose import PASSWORDS, resolved, written
from tests.support.stack import ROOT

pytestmark = pytest.mark.process

HAND_OUT: Final = ROOT / "deploy" / "hand-out-keys.sh"
READERS: Final = ("gateway", "users", "orders", "products")
SERVICES: Final = READERS[1:]
LINKS: Final = {
    "gateway": {"gateway--users", "gateway--orders", "gateway--products"},
    "users": {"gateway--users"},
    "orders": {"gateway--orders", "orders--products"},
    "products": {"gateway--products", "orders--products"},
}


class Keys:
    """The one-shot container, without the container: its script on folders."""

    def __init__(self, folder: Path, container: dict[str, Any]) -> None:
        self.whole = folder / "keys"
        self.readers = folder / "handout"
        for name in READERS:
            (self.readers / name).mkdir(parents=True, mode=0o700)
        self._options = container["command"]
        programs = Path(sys.executable).parent
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCKGATE_")}
        self._env = {
            **inherited,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "LOCKGATE_KEYS__DIRECTORY": str(self.whole),
        }

    def hand_out(self) -> None:
        command = [str(HAND_OUT), str(self.readers), *self._options]
        subprocess.run(command, cwd=ROOT, env=self._env, check=True, timeout=60, capture_output=True)  # noqa: S603 - ours

    def files(self, reader: str) -> dict[str, tuple[int, bytes]]:
        """Each file's path, inode and content: whether it was replaced can be seen as well."""
        folder = self.readers / reader
        found = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes()) for path in found}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path, resolved(written(), PASSWORDS)["services"]["keys"])
    made.hand_out()
    return made


def test_the_gateway_gets_the_key_ring_and_nobody_else_does(keys: Keys) -> None:
    ring = keyring.load(keys.readers / "gateway")
    assert ring.active.kid == keyring.load(keys.whole).active.kid
    for name in SERVICES:
        assert {path.split("/")[0] for path in keys.files(name)} == {"links"}


@pytest.mark.parametrize("name", READERS)
def test_each_reader_gets_the_keys_of_its_own_links_and_no_others(keys: Keys, name: str) -> None:
    links = keys.readers / name / "links"
    assert {path.stem for path in links.iterdir()} == LINKS[name]
    held = LinkKeys.load(links, name)
    for other in READERS:
        if f"{name}--{other}" in LINKS[name]:
            assert held.outbound(other).target == other
        else:
            with pytest.raises(LinkKeyError):
                held.outbound(other)


def test_both_ends_of_a_link_get_the_same_key(keys: Keys) -> None:
    key = LinkKeys.load(keys.readers / "orders" / "links", "orders").outbound("products")
    assert LinkKeys.load(keys.readers / "products" / "links", "products").inbound(key.key_id) == key


def test_what_is_handed_out_is_for_its_owner_only(keys: Keys) -> None:
    handed_out = list(keys.readers.rglob("*"))
    assert len(handed_out) > len(READERS)
    for path in handed_out:
        assert path.stat().st_mode & 0o077 == 0 or path.parent == keys.readers, path


def test_handing_out_again_changes_nothing(keys: Keys) -> None:
    before = {name: keys.files(name) for name in READERS}
    keys.hand_out()
    assert {name: keys.files(name) for name in READERS} == before


def test_a_key_that_was_changed_is_handed_out_again(keys: Keys) -> None:
    (keys.whole / "refresh.json").unlink()
    before = keys.files("gateway")
    keys.hand_out()
    after = keys.files("gateway")
    assert {path for path in after if after[path] != before[path]} == {"refresh.json"}
    assert after["refresh.json"][1] == (keys.whole / "refresh.json").read_bytes()


def test_a_key_that_was_taken_out_of_the_set_is_taken_back(keys: Keys) -> None:
    stranger = keys.readers / "users" / "links" / "orders--users.json"
    stranger.write_text("{}")
    old = keys.readers / "gateway" / "signing" / "old.pem"
    old.write_text("")
    keys.hand_out()
    assert not stranger.exists()
    assert not old.exists()
    assert keyring.load(keys.readers / "gateway")
