"""Real front proxies with the examples of `deploy/front-proxies`: the files are those that a reader copies.

A test replaces addresses and the folder of certificates in an example, and nothing else. What a package of the proxy
sets around the example (where nginx keeps its temporary files, that Caddy has no port for operators) is added here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.support.node import ROOT
from tests.support.raw import POLL_S, Wire

EXAMPLES: Final = ROOT / "deploy" / "front-proxies"
PROXIES: Final = ("caddy", "envoy", "nginx", "traefik")
START_S: Final = 60
"""More than any start takes on a busy machine that reads 200 MB of program from its disk."""
_PROGRAMS: Final = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"]
)
"""The wheels of Caddy, Envoy and Traefik bring their programs beside Python's."""


def found(proxy: str) -> str:
    """The program of a proxy; a test that needs one that is missing is skipped."""
    program = shutil.which(proxy, path=_PROGRAMS)
    if program is None:
        pytest.skip(f"{proxy} is not installed")
    return program


@contextlib.contextmanager
def running(proxy: str, kind: str, folder: Path, replaced: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A proxy with its example.

    Args:
        proxy: one of `PROXIES`.
        kind: the folder of the example, `forward-auth` or `tls`.
        folder: for its files; new.
        replaced: texts of the example, each of which has to be there, and what stands there instead.
    """
    program = found(proxy)
    argv = _STARTS[proxy](EXAMPLES / kind, folder, replaced)
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (
        (folder / "said").open("wb") as said,
        subprocess.Popen([program, *argv], env=env, stdout=said, stderr=said) as process,  # noqa: S603 - found above
    ):
        try:
            yield process
        finally:
            process.kill()


async def serving(
    port: int,
    process: subprocess.Popen[bytes],
    folder: Path,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> None:
    """Wait until a request gets through the proxy to the gateway.

    Args:
        port: of the proxy, on 127.0.0.1.
        process: the proxy.
        folder: the one it was started with.
        tls: where the proxy speaks TLS.
        host: its name in certificates and requests.
    """
    until, last = time.monotonic() + START_S, "no response"
    head = f"GET /.well-known/jwks.json HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    while time.monotonic() < until:
        assert process.poll() is None, (folder / "said").read_text()
        with contextlib.suppress(OSError, EOFError):
            streams = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=host if tls else None)
            wire = Wire(*streams)
            try:
                await wire.send(head.encode())
                last = (await wire.message()).line
            finally:
                wire.close()
            if " 200 " in last:
                return
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"{last}; {(folder / 'said').read_text()}")


def _written(example: Path, folder: Path, replaced: Mapping[str, str]) -> str:
    """The example with other addresses, in the folder; its text."""
    text = example.read_text(encoding="utf-8")
    for old, new in replaced.items():
        text = text.replace(old, new).replace(_in_envoy(old), _in_envoy(new))
    (folder / example.name).write_text(text, encoding="utf-8")
    return text


def _in_envoy(address: str) -> str:
    """An address as it stands in Envoy's configuration."""
    return ", port_value: ".join(address.rsplit(":", 1))


def _nginx(examples: Path, folder: Path, replaced: Mapping[str, str]) -> list[str]:
    _written(examples / "nginx.conf", folder, replaced)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "main.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\n  access_log off;\n{paths}  include {folder}/nginx.conf;\n}}\n"
    )
    return ["-c", str(folder / "main.conf"), "-e", str(folder / "error.log")]


def _caddy(examples: Path, folder: Path, replaced: Mapping[str, str]) -> list[str]:
    _written(examples / "Caddyfile", folder, replaced)
    return ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def _envoy(examples: Path, folder: Path, replaced: Mapping[str, str]) -> list[str]:
    _written(examples / "envoy.yaml", folder, replaced)
    # Several Envoys of one machine would otherwise share their memory for hot restarts.
    return [
        "--config-path",
        str(folder / "envoy.yaml"),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warn",
    ]


def _traefik(examples: Path, folder: Path, replaced: Mapping[str, str]) -> list[str]:
    _written(examples / "traefik-routes.yaml", folder, replaced)
    here = {"/etc/traefik/traefik-routes.yaml": str(folder / "traefik-routes.yaml")}
    _written(examples / "traefik.yaml", folder, {**replaced, **here})
    return [f"--configFile={folder / 'traefik.yaml'}"]


_STARTS: Final[dict[str, Callable[[Path, Path, Mapping[str, str]], list[str]]]] = {
    "caddy": _caddy,
    "envoy": _envoy,
    "nginx": _nginx,
    "traefik": _traefik,
}
