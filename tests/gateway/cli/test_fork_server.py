"""What is there before a fork, and what is made after it: R-246."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from lockgate.cli import addresses
from lockgate.cli.fork_server import check_one_thread
from lockgate.cli.forks import Forks
from lockgate.cli.process import child_environment
from lockgate.cli.supervisor import Child, Pace, Supervisor
from tests.support.commands import CONFIG, ROOT, WITHIN_S, called, heard, started

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.stack

WORKERS = 4
DRAWN = 20_000
"""Of each kind by each worker; with the one that is replaced, five draw 100,000."""


@pytest.fixture(autouse=True)
def _keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("LOCKGATE_KEYS__DIRECTORY", str(tmp_path / "keys"))
    assert called("keys", "init", "--config", CONFIG).returncode == 0


@pytest.mark.fault
@pytest.mark.slow
async def test_no_worker_repeats_a_nonce_a_jti_or_a_request_id_of_another(tmp_path: Path) -> None:
    """R-246: four workers from one process, one of them killed and replaced: 100,000 of each without a repeat."""
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    # Not `python_module`, which shuts out the working folder: tests are found there, they are not installed.
    env = child_environment(PYTHONPATH=str(ROOT))
    forks = Forks("forks", ["lockgate.app.server"], WORKERS)

    async def is_drawing() -> bool:
        return True

    argv = (sys.executable, "-P", "-m", "tests.support.drawn", str(drawn), str(DRAWN))
    workers = [forks.forked(Child(f"draws-{number}", argv, env, is_drawing), number) for number in range(WORKERS)]
    supervisor = Supervisor([forks.server(env, (), None), *workers], say=lambda *_: None, pace=Pace(first_s=0.01))
    running = asyncio.create_task(supervisor.run())
    try:
        first = await files_in(drawn, WORKERS)
        os.kill(int(first[0].name), signal.SIGKILL)
        files = await files_in(drawn, WORKERS + 1)
    finally:
        supervisor.stop()
        await running
    rows = [line.split() for file in files for line in file.read_text().splitlines()]
    assert len(rows) == 100_000
    for kind in zip(*rows, strict=True):
        assert len(set(kind)) == 100_000


async def files_in(folder: Path, number: int) -> list[Path]:
    async with asyncio.timeout(5 * WITHIN_S):
        while len(found := complete_files(folder)) < number:  # noqa: ASYNC110 - a file sets no event
            await asyncio.sleep(0.05)
    return found


def complete_files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.name.isdecimal()]


def test_a_thread_before_a_fork_is_an_error() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="a thread was started before a fork"):
            check_one_thread()
    finally:
        end.set()
        thread.join()


async def test_an_event_loop_before_a_fork_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"a thread was started|an event loop runs"):
        check_one_thread()


def test_the_fork_server_of_a_node_has_one_thread_no_connection_and_no_key(tmp_path: Path) -> None:
    with (
        addresses.bind_listener("127.0.0.1", 0) as listener,
        started(
            "lockgate.cli",
            "serve",
            "--config",
            str(CONFIG),
            "--workers",
            "2",
            "--fd",
            str(listener.fileno()),
            fds=(listener.fileno(),),
            errors=True,
        ) as supervisor,
    ):
        heard(supervisor, "2 workers, supervised")
        processes = children_of(supervisor.pid)
        server, worker = processes["forks"], processes["gateway-1"]
        assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1
        # Its channel to the supervisor, and the socket on which the workers accept.
        assert len([link for link in links_of(server) if link.startswith("socket:")]) == 2
        assert not [link for link in links_of(server) if "eventpoll" in link]
        secrets = secrets_in(tmp_path / "keys")
        assert len(secrets) > 3
        assert found_in_memory(worker, secrets), "the search finds what is there"
        assert found_in_memory(server, secrets) == set()


def children_of(pid: int) -> dict[str, int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {Path(f"/proc/{child}/comm").read_text().strip(): int(child) for child in children}


def links_of(pid: int) -> list[str]:
    return [str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]


def secrets_in(keys: Path) -> set[bytes]:
    """The secrets of signing keys, refresh tokens and links, as they stand in files and as they are."""
    texts = {text for file in keys.rglob("*.json") for text in texts_in(json.loads(file.read_text()))}
    (pem,) = (file.read_bytes() for file in keys.rglob("*.pem"))
    private = serialization.load_pem_private_key(pem, None)
    raw = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, serialization.NoEncryption())[-32:]
    return {text.encode() for text in texts} | {base64.urlsafe_b64decode(text + "==") for text in texts} | {raw}


def texts_in(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for member, inner in value.items():
            yield from texts_in(inner, member)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner, name)
    elif isinstance(value, str) and name in {"d", "secret"}:
        yield value


def found_in_memory(pid: int, wanted: set[bytes]) -> set[bytes]:
    """Which of these byte strings stand in the memory of a process."""
    found = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            if "w" not in rights:
                continue
            start, end = (int(number, 16) for number in place.split("-"))
            with contextlib.suppress(OSError):
                memory.seek(start)
                part = memory.read(end - start)
                found |= {secret for secret in wanted if secret in part}
    return found
