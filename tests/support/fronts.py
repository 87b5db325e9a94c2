"""Real proxies in front of a gateway, as their manuals begin: without a setting that is made for it."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.support.raw import POLL_S, WITHIN_S

_SBIN: Final = "/usr/sbin:/usr/local/sbin"


@contextlib.asynccontextmanager
async def nginx(port: int, folder: Path) -> AsyncIterator[str]:
    """nginx that passes everything to the gateway; its URL."""
    front = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    user = "user root;\n" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\n  access_log off;\n{paths}  client_max_body_size 64m;\n"
        f"  server {{\n    listen 127.0.0.1:{front};\n"
        f"    location / {{ proxy_pass http://127.0.0.1:{port}; }}\n  }}\n}}\n"
    )
    async with _started("nginx", "-c", str(file), "-e", str(folder / "error.log")):
        yield await _answering(f"http://127.0.0.1:{front}")


@contextlib.asynccontextmanager
async def haproxy(port: int, folder: Path, check: str) -> AsyncIterator[tuple[str, list[str]]]:
    """HAProxy with one server, and the result of its health check.

    Args:
        port: of the gateway.
        folder: for its configuration.
        check: the `option` of its health check.

    Yields:
        Its URL, and status (`UP`, `DOWN`), result (`L7OK`, `L7STS`) and HTTP status of the first look.
    """
    front, stats = free_port(), free_port()
    file = folder / "haproxy.cfg"
    file.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n  timeout check 15s\n"
        f"frontend all\n  bind 127.0.0.1:{front}\n  default_backend gateways\n"
        f"backend gateways\n  {check}\n  server one 127.0.0.1:{port} check\n"
        f"listen stats\n  bind 127.0.0.1:{stats}\n  stats enable\n  stats uri /\n"
    )
    async with _started("haproxy", "-f", str(file)):
        await _answering(f"http://127.0.0.1:{stats}")
        yield f"http://127.0.0.1:{front}", await _first_look(f"http://127.0.0.1:{stats}/;csv")


async def _first_look(url: str) -> list[str]:
    async with asyncio.timeout(WITHIN_S), httpx.AsyncClient(trust_env=False) as client:
        while True:
            rows = csv.DictReader((await client.get(url)).text.lstrip("# ").splitlines())
            (row,) = (row for row in rows if (row["pxname"], row["svname"]) == ("gateways", "one"))
            # Before the first look it is said to be up.
            result = row["check_status"].lstrip("* ")  # a star: the next look is under way
            if result not in ("", "INI"):
                return [row["status"], result, row["check_code"]]
            await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def _started(name: str, *arguments: str) -> AsyncIterator[None]:
    program = shutil.which(name) or shutil.which(name, path=_SBIN)
    if program is None:
        pytest.skip(f"{name} is not installed")
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(program, *arguments, stdout=nothing, stderr=nothing)
    try:
        yield
        assert process.returncode is None, f"{name} ended"
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(WITHIN_S):
            await process.wait()


async def _answering(url: str) -> str:
    """Wait until connections are accepted there."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return url
            await asyncio.sleep(POLL_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
