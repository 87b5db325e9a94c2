"""What a forked worker draws: request ids, `jti` and nonces, for tests that look for repeats.

`python -m tests.support.drawn FOLDER NUMBER` builds a whole worker, writes NUMBER of each into a file in FOLDER, and
waits. The file gets its name, the process id, when it is complete.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lockgate.app.worker import Worker
from lockgate.cli.configuration import load_configuration
from lockgate.clock import SystemClock
from lockgate.codec import base64url
from lockgate.identity.issuer import Issuer, Subject
from lockgate_trust import Signer, cover
from tests.support.commands import CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE: Final = "orders"
SUBJECT: Final = Subject("user", "session", "client", 0, (), (), None, ())
_NONCE: Final = re.compile(r';nonce="([^"]+)"')


def draw_ids(worker: Worker) -> Iterator[tuple[str, str, str]]:
    """Draws, of a worker, a request id, the `jti` of a token and the nonce of a signature, again and again."""
    base = worker.base
    issuer = Issuer(base.keys.ring, issuer="https://a", audience="a", life_s=60, clock=base.clock)
    signer = Signer(base.keys.links.value.outbound(SERVICE))
    while True:
        claims = json.loads(base64url.decode(issuer.issue(SUBJECT).split(".")[1]))
        request_id = worker.edge.heads.next_request_id()
        signed, _ = signer.sign(
            method="GET",
            path="/",
            query="",
            request_id=request_id,
            traceparent=None,
            covered=cover([]),
            content_digest=None,
            now=base.clock.now(),
        )
        nonce = _NONCE.search(signed)
        assert nonce is not None
        yield request_id, claims["jti"], nonce[1]


def main(folder: Path, number: int) -> None:
    """Write the file, and wait."""
    drawn = islice(draw_ids(Worker(load_configuration(CONFIG), SystemClock())), number)
    draft = folder / f".{os.getpid()}"
    draft.write_text("".join(f"{' '.join(ids)}\n" for ids in drawn))
    draft.rename(folder / str(os.getpid()))
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
