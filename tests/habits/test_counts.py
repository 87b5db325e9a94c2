"""The figures of the source count what they say."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.habits import counts
from tests.habits.files import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MODULE = '''"""A ring of keys."""


class Ring:
    def __init__(self, a, b, c, d, e, f):  # noqa: PLR0913 - six parts
        def use(): ...

    async def replace_keys(self):
        """Replace them.

        Args:
            ring: the new ring.
            clock: the
                time.
            life_s: how long each key lives, in seconds.

            late: what to do with
                a late key.

        Returns:
            ring: the new one.
        """

    def _handle_(self): ...
'''


@pytest.mark.parametrize("name", ["use", "_use", "handle_request", "do_use_", "_data", "_"])
def test_one_word_says_something_at_most(name: str) -> None:
    assert counts.is_one_word(name)


@pytest.mark.parametrize("name", ["replace_keys", "_parse_handshake", "handle_slow_client"])
def test_two_words_say_something(name: str) -> None:
    assert not counts.is_one_word(name)


def test_functions_are_counted_but_for_those_that_python_names() -> None:
    assert counts.functions_of(ast.parse(MODULE)) == ["replace_keys", "_handle_", "use"]


def test_a_package_is_counted(tmp_path: Path) -> None:
    package, tests = tmp_path / "package", tmp_path / "tests"
    for name, text in {
        "__init__.py": '"""A package."""\n',
        "keys/__init__.py": "from package.keys.ring import Ring\n",
        "keys/ring.py": MODULE,
        "keys/store.py": "STORE = 1\n",
        "keys/_state.py": "STATE = 1\n",
        "keys/link.py": "LINK = 1\n",
        "sessions/__init__.py": "SESSIONS = 1\n",
        "migrations/versions/0001.py": "def upgrade(): ...\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    for name in ("keys/test_ring.py", "keys/test_state.py", "test_store.py", "keys/test_link_loss.py"):
        (tests / name).parent.mkdir(parents=True, exist_ok=True)
        (tests / name).touch()
    assert counts.figures(package, tests) == counts.Figures(
        functions=3,
        one_word=2,
        waivers=1,
        arguments=4,
        short_arguments=2,
        modules=5,
        unmirrored=("keys/store.py", "sessions/__init__.py"),
    )


def test_all_packages_are_found() -> None:
    assert {"gateway/lockgate", "services/lockgate_shop", "trust/lockgate_trust"} <= counts.packages().keys()
    assert counts.packages()["gateway/lockgate"] == ROOT / "tests" / "gateway"
