"""CPU time of the gateway for a call that it answers itself, of this tree and of others beside it, in turns.

    python -m bench.own_calls [--rounds 60] [FOLDER OF ANOTHER TREE ...]

Clients send in lock step: each of 16 sends its request, all responses are awaited, then again. The users service is an
nginx with a constant response, so only the gateway counts. A tree is measured by the Python of its `.venv`. A figure is
the median of the rounds; a ratio is the median of the ratios of rounds that ran one after the other.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support import node as nodes

CLIENTS: Final = 16
TURN: Final = 25
"""Lock steps of a tree before it is another one's turn."""
HERE: Final = Path(__file__).parents[1]
PLENTY: Final = 10**9
FORM: Final = "Content-Type: application/x-www-form-urlencoded\r\n"
JSON: Final = "Content-Type: application/json\r\n"
_ACCOUNT: Final = (
    '{{"sub": "{sub}", "username": "alice", "roles": ["customer"], "status": "active", "password_changed_at": "1"}}'
)
_NGINX: Final = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type application/json;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location = /internal/credentials/verify {{ return 200 '{{"valid": true, "account": {made}}}'; }}
    location ~ ^/internal/accounts/(.*)$ {{ return 200 '{known}'; }}
  }}
}}
"""


@dataclass
class Client:
    """One connection, and what the gateway gave out on it."""

    sock: socket.socket
    tokens: list[str] = field(default_factory=list)

    def send(self, method: str, path: str, body: str = "", fields: str = "") -> None:
        """Send a request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
        self.sock.sendall((head + body).encode())

    def read(self) -> bytes:
        """The body of the next response, which has to be 200."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.sock.recv(65536)
            if not piece:
                raise EOFError("the gateway has closed the connection")
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(head)
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self.sock.recv(65536)
        return body


def _probe(client: Client) -> None:
    client.send("GET", "/healthz")


def _log_in(client: Client) -> None:
    client.send("POST", "/auth/login", '{"username": "alice", "password": "correct-horse-battery"}', JSON)


def _refresh(client: Client) -> None:
    client.send("POST", "/auth/refresh", f"refresh_token={client.tokens.pop()}", FORM)


def _revoke(client: Client) -> None:
    client.send("POST", "/auth/revoke", f"token={client.tokens.pop()}", FORM)


CALLS: Final[dict[str, Callable[[Client], None]]] = {
    "/healthz": _probe,
    "/auth/login": _log_in,
    "/auth/refresh": _refresh,
    "/auth/revoke": _revoke,
}


@dataclass
class Tree:
    """A gateway of one tree, and its clients."""

    name: str
    pid: int
    clients: list[Client]

    def step(self, call: Callable[[Client], None]) -> None:
        """Each client makes the call once."""
        for client in self.clients:
            call(client)
        for client in self.clients:
            body = client.read()
            if body.startswith(b"{") and b"refresh_token" in body:
                client.tokens.append(json.loads(body)["refresh_token"])

    def measure(self, call: Callable[[Client], None]) -> float:
        """Microseconds of CPU for one call, over a turn."""
        before = self._cpu_ns()
        for _ in range(TURN):
            self.step(call)
        return (self._cpu_ns() - before) / 1000 / TURN / CLIENTS

    def _cpu_ns(self) -> int:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


@contextlib.contextmanager
def _running(folder: Path, tree: Path, users: str) -> Iterator[Tree]:
    folder.mkdir()
    sections: dict[str, Any] = {
        "login": dict.fromkeys(
            ("account_attempts", "address_attempts", "all_attempts", "address_limit", "refresh_limit"), PLENTY
        ),
    }
    with nodes.redis(folder) as redis_url:
        content: dict[str, Any] = {
            "folder": str(folder),
            "redis_url": redis_url,
            "upstream": users,
            "sections": sections,
        }
        nodes.settings(folder, redis_url, users, **sections)
        content["admission_timeout_s"] = 5
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port, descriptor = listener.getsockname()[1], listener.fileno()
            argv = [str(tree / ".venv/bin/python"), "-m", "tests.support.node", json.dumps(content), str(descriptor)]
            with subprocess.Popen(
                argv, cwd=tree, pass_fds=(descriptor,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as child:
                try:
                    addresses = [("127.0.0.1", port)] * CLIENTS
                    yield Tree(
                        tree.name, child.pid, [Client(socket.create_connection(one, timeout=60)) for one in addresses]
                    )
                finally:
                    child.kill()


@contextlib.contextmanager
def _users_service(folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    made, known = _ACCOUNT.format(sub="$request_id"), _ACCOUNT.format(sub="$1")
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, port=port, made=made, known=known))
    with subprocess.Popen(["nginx", "-c", configuration]) as nginx:  # noqa: S607 - a tool of the bench
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            nginx.kill()


def _run(trees: list[Path], rounds: int, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        users = stack.enter_context(_users_service(folder))
        running = [stack.enter_context(_running(folder / str(n), tree, users)) for n, tree in enumerate(trees)]
        for name in names:
            _report(name, running, rounds)


def _report(name: str, running: list[Tree], rounds: int) -> None:
    figures: list[list[float]] = [[] for _ in running]
    for _ in range(rounds):
        for tree, found in zip(running, figures, strict=True):
            if name == "/auth/revoke":
                for _ in range(TURN):
                    tree.step(_log_in)
            elif name == "/auth/refresh":
                tree.step(_log_in)
            found.append(tree.measure(CALLS[name]))
            for client in tree.clients:
                client.tokens.clear()
    for tree, found in zip(running, figures, strict=True):
        ratio = statistics.median(theirs / ours for theirs, ours in zip(found, figures[0], strict=True))
        print(f"{name:15} {tree.name:20} {statistics.median(found):8.1f} us   {ratio:5.2f} of the first")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--call", action="append", choices=CALLS)
    parser.add_argument("trees", nargs="*", type=Path)
    given = parser.parse_args()
    _run([HERE, *given.trees], given.rounds, given.call or list(CALLS))
