"""The services that the documentation shows, as processes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.node_modules import node, project
from tests.support.peers import closed_port
from tests.support.stack import ROOT

EXAMPLES: Final = ROOT / "docs" / "examples"
README: Final = "readme"
"""The one in `trust/README.md`, which has a route of its own: `/notes/readme`."""
PATIENCE_S: Final = 30
_READY: Final = b"running"
"""What each of them says, in some words, when it listens."""


@contextlib.contextmanager
def running(kind: str, links: Path) -> Iterator[str]:
    """A documented service that listens; its address.

    Args:
        kind: `fastapi`, `asgi`, `node` or `README`.
        links: the folder with the link keys of the service `notes`.
    """
    port = closed_port()
    env = {"LINK_KEYS": str(links), "PORT": str(port), "PYTHONPATH": str(ROOT)}
    with (
        tempfile.TemporaryDirectory(prefix="lockgate-") as folder,
        subprocess.Popen(  # noqa: S603 - our own program
            _program(kind, port, links, Path(folder)), cwd=ROOT, env={**os.environ, **env}, stderr=subprocess.PIPE
        ) as process,
    ):
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if _READY in line:
                    break
            else:
                raise AssertionError(b"".join(said).decode(errors="replace"))
            # So that a full pipe never holds it up.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait(PATIENCE_S)


def _program(kind: str, port: int, links: Path, folder: Path) -> list[str]:
    uvicorn = [sys.executable, "-m", "uvicorn", "--no-access-log", "--timeout-keep-alive", "75", "--port", str(port)]
    if kind == README:
        return [*uvicorn, "--app-dir", str(_written_out(links)), "readme_service:app"]
    if kind != "node":
        return [*uvicorn, "--app-dir", str(EXAMPLES), "--factory", f"{kind}_service:create_app"]
    return [node(), str(node_example(folder) / "service.js")]


def node_example(folder: Path) -> Path:
    """A copy of the example for node, with the packages that it needs."""
    return project(folder, EXAMPLES / "node", "express")


def python_blocks(heading: str) -> list[str]:
    """The programs in a section of the README of `trust`."""
    text = (ROOT / "trust" / "README.md").read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def _written_out(links: Path) -> Path:
    """The folder with the program that the README of `trust` shows first."""
    [program] = python_blocks("In a FastAPI or Starlette application")
    for shown, here in (
        ('"/run/link-keys", me="orders"', f'"{links}", me="notes"'),
        ('@app.get("/orders")', '@app.get("/notes/readme")'),
    ):
        assert shown in program
        program = program.replace(shown, here)
    (links / "readme_service.py").write_text(program)
    return links
