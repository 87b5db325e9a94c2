"""Helpers that several tests share."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.peers import closed_port

PATIENCE_S = 30


def environment(service: str, tmp_path: Path, **more: str) -> dict[str, str]:
    given = {"LINK_KEYS": str(tmp_path / "links"), "DATABASE_URL": f"sqlite:///{tmp_path}/data/{service}.db", **more}
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("USERS_", "ORDERS_", "PRODUCTS_"))
    }
    return {**kept, **{f"{service.upper()}_{name}": value for name, value in given.items()}}


@contextlib.contextmanager
def running(service: str, tmp_path: Path, **more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A service process that is ready; gives its base URL."""
    port = closed_port()
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", f"lockgate_shop.{service}", "--port", str(port), "--seed-demo"],
        env=environment(service, tmp_path, **more),
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert '"ready"' in line, line
            yield f"http://127.0.0.1:{port}", process
        finally:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=PATIENCE_S)
