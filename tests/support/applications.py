"""The example with four applications, as its README runs it: its own files, on ports that are free."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.commands import ROOT, WITHIN_S
from tests.support.fronts import free_port
from tests.support.stack import OURS, STOP_WITHIN_S

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE: Final = ROOT / "docs/examples/applications"
APP: Final = "app.localhost"
WIKI: Final = "wiki.localhost"


@dataclass(frozen=True)
class Applications:
    """The running gateway with its applications.

    Attributes:
        folder: a copy of the example's, where all commands run.
        port: of the gateway, for TLS.
        plain: of the gateway, for plain HTTP.
    """

    folder: Path
    port: int
    plain: int

    @property
    def config(self) -> Path:
        """The file that a reload reads."""
        return self.folder / "lockgate.toml"

    @property
    def authority(self) -> Path:
        """The certificate to trust."""
        return self.folder / "tls/authority.crt"

    def address(self, host: str, path: str = "/") -> str:
        """An address by TLS."""
        return f"https://{host}:{self.port}{path}"

    def curl(self, *arguments: str) -> str:
        """What curl prints, which trusts the example's authority alone."""
        command = ["curl", "--silent", "--show-error", "--max-time", str(WITHIN_S), "--cacert", str(self.authority)]
        return subprocess.run(  # noqa: S603 - a fixed program
            [*command, *arguments], cwd=self.folder, capture_output=True, text=True, check=True
        ).stdout

    def replace_certificates(self) -> None:
        """New certificates of the same authority, by the example's script."""
        replace_certificates(self.folder)


def replace_certificates(folder: Path) -> None:
    """Run the script of the copy."""
    subprocess.run(["sh", "certificates.sh"], cwd=folder, check=True, capture_output=True)  # noqa: S607 - the system's


@contextlib.contextmanager
def running_applications(folder: Path) -> Iterator[Applications]:
    """Start gateway and applications; at the end both stop by SIGINT.

    Args:
        folder: for the copy; its parent exists.

    Raises:
        AssertionError: the gateway did not become ready, or did not stop cleanly.
    """
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("keys", "tls", ".lockgate", "__pycache__"))
    found = _move_ports(folder / "lockgate.toml")
    replace_certificates(folder)
    with (
        _program(folder, "-m", "lockgate.cli", "dev", until="ready https://"),
        _program(folder, "apps.py", until="The four applications run"),
    ):
        yield Applications(folder, found["8443"], found["8080"])


def _move_ports(config: Path) -> dict[str, int]:
    """Give each port that the file names a free one in its place."""
    text = config.read_text()
    routes = tomllib.loads(text)["route"]
    upstreams = {route["upstreams"][0].rpartition(":")[2] for route in routes}
    found = {port: free_port() for port in sorted({"8443", "8080", "8101", *upstreams})}
    for old, new in found.items():
        text = text.replace(f":{old}", f":{new}").replace(f"port = {old}", f"port = {new}")
    config.write_text(text)
    return found


@contextlib.contextmanager
def _program(folder: Path, *arguments: str, until: str) -> Iterator[None]:
    """A program of the README, from the line that says that it is ready, to its end by SIGINT."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    log = folder / f"{Path(arguments[-1]).stem}.err"
    with (
        log.open("wb") as errors,
        subprocess.Popen(  # noqa: S603 - our own programs
            [sys.executable, *arguments],
            cwd=folder,
            env={**inherited, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert any(line.startswith(until) for line in process.stdout), log.read_text()
            yield
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=STOP_WITHIN_S)
            assert process.returncode == 0, said
        finally:
            process.kill()
