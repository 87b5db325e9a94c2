"""Marks among real workers: one table for all of them, and a key that goes in an emergency while a worker is held."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from lockgate.cli import addresses
from lockgate.clock import SystemClock
from lockgate.identity.marks import TABLE_BYTES
from lockgate.keys import keyring
from lockgate.settings import TokenSettings
from tests.support.commands import CONFIG, WITHIN_S, called, heard, lockgate, started
from tests.support.tokens import Tokens

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = [pytest.mark.stack, pytest.mark.fault]

RELOADED: Final = "key ring reloaded"
"""In the log of a worker that has taken changed keys."""
MOST_CONNECTIONS: Final = 64
PATH: Final = "/orders"


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway of two workers.

    Attributes:
        keys: its folder of keys.
    """

    supervisor: subprocess.Popen[str]
    port: int
    keys: Path

    def workers(self) -> set[int]:
        """Their process ids."""
        pid = self.supervisor.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child) for child in children if Path(f"/proc/{child}/comm").read_text().startswith("gateway-")}

    @contextlib.contextmanager
    def connected(self) -> Iterator[list[tuple[int, http.client.HTTPConnection]]]:
        """A connection to each worker, with its process id."""
        found: dict[int, http.client.HTTPConnection] = {}
        opened = 0
        with contextlib.ExitStack() as stack:
            while len(found) < len(self.workers()):
                assert opened < MOST_CONNECTIONS, "one worker takes all connections"
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WITHIN_S)
                stack.callback(connection.close)
                assert status(connection) == 200
                found.setdefault(self._owner(connection), connection)
                opened += 1
            yield list(found.items())

    def _owner(self, connection: http.client.HTTPConnection) -> int:
        client_port = connection.sock.getsockname()[1]
        ends = f":{self.port:04X} 0100007F:{client_port:04X} "
        [row] = [line for line in Path("/proc/net/tcp").read_text().splitlines() if ends in line]
        wanted = f"socket:[{row.split()[9]}]"
        [owner] = [pid for pid in self.workers() if wanted in open_files(pid)]
        return owner


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Redis is away, so a token that is believed is answered 503, and any other 401."""
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("LOCKGATE_KEYS__DIRECTORY", str(tmp_path / "keys"))
    assert lockgate("keys", "init", "--config", CONFIG).returncode == 0
    with addresses.bind_listener("127.0.0.1", 0) as listener:
        arguments = ("serve", "--config", str(CONFIG), "--workers", "2", "--fd", str(listener.fileno()))
        with started("lockgate.cli", *arguments, fds=(listener.fileno(),), errors=True) as supervisor:
            heard(supervisor, "gateway-1: ready", "gateway-2: ready")
            yield Served(supervisor, listener.getsockname()[1], tmp_path / "keys")


def open_files(pid: int) -> set[str]:
    names = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.add(str(entry.readlink()))
    return names


def status(connection: http.client.HTTPConnection, token: str | None = None) -> int:
    ask(connection, token)
    return answer(connection)


def ask(connection: http.client.HTTPConnection, token: str | None) -> None:
    if token is None:
        connection.request("GET", "/healthz")
    else:
        connection.request("GET", PATH, headers={"Authorization": f"Bearer {token}"})


def answer(connection: http.client.HTTPConnection) -> int:
    response = connection.getresponse()
    response.read()
    return response.status


def tables(pid: int) -> set[str]:
    """The shared tables of marks that a process has, by the numbers of their memory."""
    rows = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw-s \S+ \S+ (\d+) +/dev/zero", maps(pid), re.MULTILINE)
    return {number for start, end, number in rows if int(end, 16) - int(start, 16) == TABLE_BYTES}


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_all_workers_have_one_table_and_so_does_one_that_is_restarted(served: Served) -> None:
    first, second = served.workers()
    assert len(tables(first)) == 1
    assert tables(first) == tables(second)
    os.kill(first, signal.SIGKILL)
    heard(served.supervisor, "is back")
    [third] = served.workers() - {second}
    assert tables(third) == tables(second)


def test_a_removed_key_stays_removed_while_another_worker_still_has_it(served: Served) -> None:
    """R-164: a worker that is held up for a moment believes tokens of the key once more, and marks them for itself."""
    tokens = Tokens(keyring.load(served.keys).active, TokenSettings(), SystemClock())
    before, later = tokens.token(), tokens.token()
    with served.connected() as ((_, free), (held_pid, held)):
        assert [status(connection, before) for connection in (free, held)] == [503, 503]
        os.kill(held_pid, signal.SIGSTOP)
        try:
            ask(held, later)
            assert called("keys", "remove", tokens.key.kid, "--config", CONFIG).returncode == 0
            heard(served.supervisor, RELOADED)
        finally:
            os.kill(held_pid, signal.SIGCONT)
        # As it was held for less than two seconds or for more: then it looks at the keys before it judges.
        assert answer(held) in {503, 401}
        assert [status(free, token) for token in (before, later)] == [401, 401]
        heard(served.supervisor, RELOADED)
        assert [status(held, token) for token in (before, later)] == [401, 401]
