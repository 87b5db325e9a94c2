"""A signal means the same to one worker as to several, and none of them cuts what is in flight: R-216."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lockgate.cli import addresses
from tests.support.commands import CONFIG, ROOT, WITHIN_S, lockgate
from tests.support.raw import Wire
from tests.support.upstream import Upstream, manual, running

pytestmark = [pytest.mark.stack, pytest.mark.slow]
GET: Final = b"GET /products HTTP/1.1\r\nHost: shop.example\r\n\r\n"
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.contextmanager
def serving(
    folder: Path, redis_url: str, service: Upstream, workers: int
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`lockgate serve`, ready, and its port."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": redis_url,
        "LOCKGATE_KEYS__DIRECTORY": str(folder / "keys"),
        "LOCKGATE_UPSTREAMS__PRODUCTS": f'["{service.url}"]',
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCKGATE_KEYS__DIRECTORY", str(folder / "keys"))
        assert lockgate("keys", "init", "--config", CONFIG).returncode == 0
    with addresses.bind_listener("127.0.0.1", 0) as listener:
        argv = [sys.executable, "-m", "lockgate.cli", "serve", "--config", str(CONFIG), "--workers", str(workers)]
        argv += ["--fd", str(listener.fileno())]
        started = subprocess.Popen(  # noqa: S603 - our own program
            argv,
            env=environment,
            pass_fds=(listener.fileno(),),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with started as process:
            try:
                yield process, listener.getsockname()[1]
            finally:
                process.kill()


@pytest.fixture(autouse=True)
def _hangup_is_not_ignored() -> Iterator[None]:
    """The parent of the tests may ignore it, and children inherit that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("workers", [1, 2])
async def test_no_signal_cuts_what_is_in_flight(tmp_path: Path, redis_url: str, workers: int) -> None:
    """R-216: hang-up and user signals go by; each of the others lets requests finish, however often it comes."""
    async with running(manual()) as service:
        with serving(tmp_path, redis_url, service, workers) as (process, port):
            client = await Wire.connect("127.0.0.1", port)
            await client.send(GET)
            asked = await service.connection()
            await asked.message()
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
                process.send_signal(number)
            other = await Wire.connect("127.0.0.1", port)
            await other.send(GET.replace(b"/products", b"/healthz"))
            assert (await other.message()).status == 200
            other.close()
            for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGTERM):
                process.send_signal(number)
            await asked.send(ANSWER)
            assert (await client.message()).body == b"ok"
            client.close()
            assert process.wait(WITHIN_S) in {0, -signal.SIGTERM}
