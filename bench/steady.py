"""Latency at a constant rate: requests leave when they are due, whether or not earlier ones have a response.

A closed loop such as wrk's sends less while the system stalls, and so does not see the stall ("coordinated omission").
Here each request has a time at which it is due, and its latency counts from that time, also while it waits for a free
connection. Run as a program of its own, on the core of the load.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.machine import run_on
from bench.wrk import Load

MAX_CONNECTIONS: Final = 256
_READ: Final = 65_536
_LATE_S: Final = 0.001
_DRAIN_S: Final = 5
_BEYOND_S: Final = 30
_WARM_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Latency:
    """The latencies at a constant rate.

    Attributes:
        rate: requests per second that were due.
        p50_ms: the latency of the median response.
        p99_ms: 99 of 100 responses were at least as fast.
        worst_ms: the latency of the slowest response.
        late: the share of requests that were sent more than a millisecond after they were due: no connection was free,
            or the generator did not get its core. Counted in the latency.
        failed: responses that were not 200, connections that broke, and requests without a response by the end.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    late: float
    failed: int


def measure(load: Load, path: str, rate: float, seconds: float, core: int | None) -> Latency:
    """Run the generator on a core (`None`: on any), with the port and the tokens of a load of wrk's."""
    # fmt: off
    argv = [
        sys.executable, "-m", "bench.steady", "--port", str(load.port), "--path", path, "--rate", f"{rate:.1f}",
        "--seconds", f"{seconds:g}", "--tokens", str(load.tokens),
    ]
    # fmt: on
    return Latency(**json.loads(run_on(core, argv, seconds + _BEYOND_S)))


@dataclass(slots=True, eq=False)
class _Connection:
    """One keep-alive connection, at most one request in flight."""

    socket: socket.socket
    due: float = 0
    head: bytes = b""
    missing: int = 0

    def feed(self, data: bytes) -> int | None:
        """Take bytes of a response.

        Returns:
            Its status when it is complete.
        """
        if not self.missing:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return None
            length = _content_length(self.head[:end])
            if length is None:  # chunked: complete when the last chunk has come
                return self._status() if self.head.endswith(b"0\r\n\r\n") else None
            self.missing = length - (len(self.head) - end - 4)
        else:
            self.missing -= len(data)
        return None if self.missing else self._status()

    def _status(self) -> int:
        status = int(self.head[9:12])
        self.head = b""
        return status


@dataclass(slots=True)
class _Generator:
    """Sends due requests and reads responses, in one loop without a framework in between."""

    port: int
    requests: list[bytes]
    gap_s: float
    free: list[_Connection] = field(default_factory=list)
    busy: dict[int, _Connection] = field(default_factory=dict)
    waiting: deque[float] = field(default_factory=deque)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    late: int = 0
    failed: int = 0
    sent: int = 0
    poll: select.epoll = field(default_factory=select.epoll)

    def run(self, seconds: float) -> None:
        """Keep the rate for some seconds, then wait for the missing responses."""
        start = time.perf_counter()
        due, end = start, start + seconds
        while (now := time.perf_counter()) < end + _DRAIN_S:
            while due <= now and due < end:
                self.waiting.append(due)
                due += self.gap_s
            self._send_waiting(now)
            if due >= end and not self.waiting and not self.busy:
                break
            # `epoll` knows milliseconds only; `select` on it waits to the microsecond.
            pause = max(0.0, min(due, end + _DRAIN_S) - time.perf_counter()) if due < end else _DRAIN_S
            select.select([self.poll], [], [], pause)
            for descriptor, _ in self.poll.poll(0):
                self._receive(self.busy.get(descriptor))
        self.failed += len(self.busy) + len(self.waiting)

    def _send_waiting(self, now: float) -> None:
        while self.waiting:
            if not self.free and len(self.busy) >= MAX_CONNECTIONS:
                return
            connection = self.free.pop() if self.free else self._connect()
            connection.due = self.waiting.popleft()
            self.late += now - connection.due > _LATE_S
            self.busy[connection.socket.fileno()] = connection
            connection.socket.send(self.requests[self.sent % len(self.requests)])
            self.sent += 1

    def _connect(self) -> _Connection:
        opened = socket.create_connection(("127.0.0.1", self.port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setblocking(False)  # noqa: FBT003 - the only spelling
        self.poll.register(opened, select.EPOLLIN)
        return _Connection(opened)

    def _receive(self, connection: _Connection | None) -> None:
        if connection is None:
            return
        descriptor = connection.socket.fileno()
        try:
            data = connection.socket.recv(_READ)
        except OSError:
            data = b""
        status = connection.feed(data) if data else 0
        if status is None:
            return
        del self.busy[descriptor]
        self.latencies.append((connection.due, time.perf_counter() - connection.due))
        self.failed += status != 200  # noqa: PLR2004 - the service's only answer
        if data:
            self.free.append(connection)
        else:
            self.poll.unregister(descriptor)
            connection.socket.close()


def _content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return None


def main() -> None:
    """Print one `Latency` as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    options = parser.parse_args()
    head = f"GET {options.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
    requests = [f"{head}{token}\r\n\r\n".encode() for token in options.tokens.read_text().split()]
    generator = _Generator(options.port, requests, 1 / options.rate)
    generator.run(options.seconds)
    first = min(due for due, _ in generator.latencies)
    # The start opens the connections; it is not part of the figures.
    kept = sorted(taken for due, taken in generator.latencies if due > first + _WARM_SHARE * options.seconds)
    found = Latency(
        rate=options.rate,
        p50_ms=kept[len(kept) // 2] * 1e3,
        p99_ms=kept[len(kept) * 99 // 100] * 1e3,
        worst_ms=kept[-1] * 1e3,
        late=generator.late / max(1, generator.sent),
        failed=generator.failed,
    )
    print(json.dumps({name: getattr(found, name) for name in Latency.__slots__}))


if __name__ == "__main__":
    main()
