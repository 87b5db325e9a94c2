"""Where the time of a request goes: py-spy on a worker under full load, as text.

    python -m bench.profile [--seconds 10] [--lines 40]

Three tables: by kind of work (system calls, hashing, regular expressions, …), by function with what it calls, and by
function without. The rate and the processor time per request are measured before, without the profiler.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from bench import lockgate, wrk
from bench.machine import Cores, free_port, started
from bench.site import PATH, opened, wait_for_response

SAMPLES_PER_S: Final = 250
_LINE_NUMBER: Final = re.compile(r":\d+\)$")
_PYTHON: Final = re.compile(r"\.py(:\d+)?\)$")
# In this order; a sample belongs to the first kind that one of its innermost frames names.
_KINDS: Final = (
    ("system call: write", re.compile(r"^(write|writev|sendmsg|send) \(libc")),
    ("system call: read", re.compile(r"^(read|recv|recvmsg) \(libc")),
    ("system call: wait", re.compile(r"^epoll_")),
    ("hashing and signatures", re.compile(r"libcrypto|_hashopenssl|hashlib|_sha|hmac", re.IGNORECASE)),
    ("regular expressions", re.compile(r"^_?sre_|_SRE_")),
    ("HTTP parser", re.compile(r"httptools|llhttp")),
    ("Redis protocol", re.compile(r"hiredis|redisReader", re.IGNORECASE)),
    ("memory", re.compile(r"^(_int_|unlink_|m|c|re)?(alloc|free|malloc|calloc)|^cfree|_PyObject_(Malloc|Free)|^gc_")),
)
_OTHER_THREAD: Final = "Thread._bootstrap "
"""Requests are the event loop's business; other threads wait, which py-spy cannot always tell from work."""
_INNERMOST: Final = 4
_EVERYWHERE: Final = 0.995


class Profile(NamedTuple):
    """Samples, counted three ways."""

    kinds: Counter[str]
    inclusive: Counter[str]
    own: Counter[str]
    samples: int

    def text(self, lines: int) -> str:
        """The three tables."""
        parts = []
        for title, counter in (
            ("by kind of work", self.kinds),
            ("by function, with what it calls", self.inclusive),
            ("by function, without", self.own),
        ):
            # The way from the interpreter's start to the event loop is in every sample and tells nothing.
            found = [(name, count) for name, count in counter.most_common() if count < _EVERYWHERE * self.samples]
            rows = (f"{100 * count / self.samples:6.1f} %  {name}" for name, count in found[:lines])
            parts.append("\n".join([f"{title} ({self.samples} samples)", *rows]))
        return "\n\n".join(parts) + "\n"


def count(stacks: Iterable[str]) -> Profile:
    """Count the samples of py-spy.

    Args:
        stacks: lines of its `raw` format: frames from the outermost to the innermost, joined by `;`, and a count.
    """
    profile = Profile(Counter(), Counter(), Counter(), 0)
    samples = 0
    for line in stacks:
        joined, _, number = line.rpartition(" ")
        frames = joined.split(";")
        if _OTHER_THREAD in joined:
            continue
        weight = int(number)
        samples += weight
        python = [_LINE_NUMBER.sub(")", frame) for frame in frames if _PYTHON.search(frame)]
        profile.kinds[_kind(frames)] += weight
        for name in set(python):
            profile.inclusive[name] += weight
        profile.own[python[-1] if python else "event loop"] += weight
    return profile._replace(samples=samples)


def _kind(frames: list[str]) -> str:
    for frame in reversed(frames[-_INNERMOST:]):
        for name, pattern in _KINDS:
            if pattern.search(frame):
                return name
    if _PYTHON.search(frames[-1]) or any("libpython" in frame or "<string>" in frame for frame in frames[-2:]):
        return "Python"
    return "event loop and the rest"


def record(seconds: int) -> tuple[wrk.Result, Profile]:
    """Load one worker with every feature on: first to measure it, then under the profiler."""
    cores = Cores.take()
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        site = stack.enter_context(opened(folder, cores))
        port = free_port()
        command = lockgate.commands(site, port)[0]
        worker = stack.enter_context(started(command, cores.gateway, folder / "lockgate.out"))
        wait_for_response(worker, "lockgate", port)
        paths = folder / "paths"
        paths.write_text(f"{PATH}\n")
        load = wrk.Load(port, paths, lockgate.token_file(site, port, 2_000))
        wrk.run(load, 2, cores, worker)
        result = wrk.run(load, 5, cores, worker)
        raw = folder / "raw"
        # fmt: off
        argv = [
            str(Path(sys.executable).with_name("py-spy")), "record", "--native", "--format", "raw",
            "--output", str(raw), "--rate", str(SAMPLES_PER_S), "--duration", str(seconds),
            "--pid", str(worker.process.pid),
        ]
        # fmt: on
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as spy:
            wrk.run(load, seconds + 1, cores, worker)
        if spy.returncode:
            raise RuntimeError("py-spy failed; it needs the right to trace processes")
        return result, count(raw.read_text().splitlines())


def main() -> None:
    """Print a profile."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="Where the time of a request goes.")
    parser.add_argument("--seconds", type=int, default=10, help="how long to look")
    parser.add_argument("--lines", type=int, default=40, help="how long each table may be")
    options = parser.parse_args()
    result, profile = record(options.seconds)
    print(f"{result.rate:.0f} requests/s, {result.cpu_us:.1f} us of processor time each, core {result.busy:.0%} busy\n")
    print(profile.text(options.lines))


if __name__ == "__main__":
    main()
