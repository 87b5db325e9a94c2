"""What a fork server does not import: a process of its own, in which no test has imported these before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lockgate.cli.devstack.demo_services import MODULES
from lockgate.cli.serve import _MODULES as GATEWAY

pytestmark = pytest.mark.process

CHECK = """
import importlib, sys
from lockgate.cli.fork_server import _left_out
with _left_out():
    for name in sys.argv[1:]:
        importlib.import_module(name)
loaded = {"rich", "opentelemetry.sdk", "psutil", "boto3", "streaq", "alembic.ddl.postgresql"} & sys.modules.keys()
importlib.import_module("rich")
print(sorted(loaded))
"""


@pytest.mark.parametrize("modules", [MODULES, GATEWAY], ids=["services", "gateway"])
def test_a_fork_server_leaves_out_what_its_children_do_not_use(modules: tuple[str, ...]) -> None:
    """R-246: shared memory and time; a module that was left out can be imported afterwards."""
    argv = [sys.executable, "-c", CHECK, *modules]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - ours
    assert said.stdout == "[]\n"
