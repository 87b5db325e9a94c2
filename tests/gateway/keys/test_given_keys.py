"""Keys that the gateway is given: as Kubernetes mounts secrets, and as root gives them to a group (R-215)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.cli import keys
from lockgate.keys import keyring
from lockgate.keys.store import KeyStore
from lockgate.settings import Settings
from tests.support.accounts import GROUP, NOBODY, give, needs_root, open_folder, said_by
from tests.support.stack import ROOT

pytestmark = pytest.mark.process

NO_KEYS = {".lock", ".gitignore"}
"""Files of the folder that hold no secret."""
IMPORTS = """
import json
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from lockgate.clock import SystemClock
from lockgate.keys import check
from lockgate.keys.store import KeyStore
from lockgate.keys.reload import live_keys
from lockgate.settings import Settings
"""
TELL = """
settings = Settings(**json.loads({content!r}))
live = live_keys(settings, SystemClock())
problems = check.check(KeyStore(settings), 2e9).problems
print(json.dumps([live.ring.value.active.kid, live.links.value.outbound("orders").key_id, problems]))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    needs_root()
    with open_folder() as made:
        yield made


def content(directory: Path) -> dict[str, object]:
    route = {"name": "orders", "prefix": "/orders", "upstreams": ["http://127.0.0.1:1"]}
    return {
        "keys": {"directory": str(directory)},
        "route": [route],
        "upstreams": {"users": ["http://127.0.0.1:1"]},
        "redis_url": "redis://unused",
    }


def configured(directory: Path) -> Settings:
    return Settings(**content(directory))  # type: ignore[arg-type]  # as in the configuration file


def read_by_nobody(directory: Path) -> list[object]:
    """The ids of the keys that a gateway of that account uses, and what `lockgate keys check` tells it."""
    told = json.loads(said_by(IMPORTS, TELL.format(content=json.dumps(content(directory)))))
    assert isinstance(told, list)
    return told


def mounted(volume: Path, revision: str, original: Path) -> None:
    """Show a folder of keys as a kubelet does: root's, the group's to read, behind a link that is swapped."""
    data = volume / revision
    shutil.copytree(original, data, ignore=shutil.ignore_patterns(".lock"))
    for path in [data, *data.rglob("*")]:
        give(path, 0, GROUP, 0o750 if path.is_dir() else 0o440)
    (volume / "..tmp").symlink_to(revision)
    (volume / "..tmp").rename(volume / "..data")
    for path in data.iterdir():
        link = volume / path.name
        if not link.is_symlink():
            link.symlink_to(Path("..data") / path.name)


def test_a_mounted_secret_is_read_and_followed(folder: Path) -> None:
    original, volume = folder / "original", folder / "volume"
    volume.mkdir(mode=0o755)
    settings = configured(original)
    keys.create_missing(settings)
    mounted(volume, "..2026_01", original)
    ring = keyring.load(original)
    told = read_by_nobody(volume)
    assert told[0] == ring.active.kid
    assert told[2] == []
    store = KeyStore(settings)
    fresh = store.rotate(store.signing(), 2e9, at_once=True).key_id
    mounted(volume, "..2026_02", original)
    assert read_by_nobody(volume)[0] == fresh


@pytest.mark.parametrize("name", ["ring.json", "refresh.json", "signing/*.pem", "links/gateway--orders.json"])
def test_a_mounted_secret_that_everybody_may_read_is_told_by_its_name(folder: Path, name: str) -> None:
    original, volume = folder / "original", folder / "volume"
    volume.mkdir(mode=0o755)
    keys.create_missing(configured(original))
    mounted(volume, "..2026_01", original)
    (path,) = (volume / "..2026_01").glob(name)
    path.chmod(0o444)
    program = f"""
settings = Settings(**json.loads({json.dumps(content(volume))!r}))
try:
    live_keys(settings, SystemClock())
except Exception as error:
    print(type(error).__name__, error)
print(check.check(KeyStore(settings), 2e9).problems)
"""
    said, checked = said_by(IMPORTS, program).splitlines()
    assert said.startswith("ConfigurationError ")
    for text in (said, checked):
        assert path.name in text
        assert "chmod 640" in text


def test_what_root_makes_in_a_folder_that_it_gave_to_a_group_is_the_groups_to_read(folder: Path) -> None:
    directory = folder / "keys"
    directory.mkdir(mode=0o700)
    give(directory, 0, GROUP, 0o750)
    settings = configured(directory)
    keys.create_missing(settings)
    before = read_by_nobody(directory)
    assert before[2] == []
    # A command of root's, which is in no group.
    for which in ([], ["--links"], ["--refresh"]):
        command([sys.executable, "-m", "lockgate.cli", "keys", "rotate", "--now", *which], directory)
    assert command([sys.executable, "-m", "lockgate.cli", "keys", "check"], directory) == "every key is in order\n"
    after = read_by_nobody(directory)
    assert after[2] == []
    assert set(before[:2]).isdisjoint(after[:2])
    files = [path for path in directory.rglob("*") if path.is_file() and path.name not in NO_KEYS]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o640}


def command(argv: list[str], directory: Path) -> str:
    """What a command of the command line prints."""
    env = {**os.environ, "LOCKGATE_KEYS__DIRECTORY": str(directory)}
    ran = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_what_root_makes_in_a_folder_of_the_gateways_is_the_gateways(folder: Path) -> None:
    directory = folder / "keys"
    directory.mkdir()
    give(directory, NOBODY, NOBODY, 0o700)
    keys.create_missing(configured(directory))
    assert read_by_nobody(directory)[2] == []
    owners = {
        (path.stat().st_uid, path.stat().st_mode & 0o077) for path in directory.rglob("*") if path.name not in NO_KEYS
    }
    assert owners == {(NOBODY, 0)}
