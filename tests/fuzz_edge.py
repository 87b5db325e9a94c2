"""`python -m tests.fuzz_edge --rounds 60000`: hostile bytes against a real worker, split at random points.

What must hold for all bytes: the worker lives, no request gets two answers, none is answered with a 5xx that says
something broke, the connection ends, and what reached the service is one well-formed request to the last byte, in the
eyes of a second parser, without a field that only the gateway may set.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import httptools
import uvloop

from lockgate.edge.path import canonical_path
from lockgate_trust import IDENTITY_HEADERS
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import Message
from tests.support.upstream import Upstream

_HOST: Final = b"Host: shop.example\r\n"
SEEDS: Final = (
    b"GET /open HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /open/a%20b;c=d/%7e?x=%2e%2e&y HTTP/1.1\r\n" + _HOST + b"Accept: */*\r\nCookie: a=b\r\n\r\n",
    b"POST /open HTTP/1.1\r\n" + _HOST + b"Content-Length: 5\r\n\r\nhello",
    b"POST /open HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n",
    b"PUT /open/x HTTP/1.1\r\n" + _HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"HEAD /open HTTP/1.0\r\n" + _HOST + b"Connection: keep-alive\r\n\r\n",
    b"GET http://shop.example/open HTTP/1.1\r\n" + _HOST + b"Connection: close, x-a\r\nX-A: 1\r\n\r\n",
    b"GET /open HTTP/1.1\r\n" + _HOST + b"X-User-Id: root\r\nx-user-roles: admin\r\nSignature: x\r\n\r\n",
    b"GET /open HTTP/1.1\r\n" + _HOST + b"X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n\r\n",
    b"GET /orders HTTP/1.1\r\n" + _HOST + b"Authorization: Bearer a.b.c\r\n\r\n",
    b"GET /open HTTP/1.1\r\n" + _HOST + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"POST /auth/login HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /healthz HTTP/1.1\r\n" + _HOST + b"\r\n",
)
TOKENS: Final = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"/", b"//", b"/..", b"%2e", b"%2f", b"%00", b"%25"),
    *(b"\r\n\r\n", b"\r\n ", b"_", b".", b"-", b"\x80", b"\xff", b"#", b"?", b"*", b"0", b"0\r\n\r\n", b"chunked"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: host\r\n"),
    *(
        b"X-User-Id: root\r\n",
        b"X_User_Id: root\r\n",
        b"x-user-id : root\r\n",
        b"Host: evil\r\n",
        b"HTTP/1.0",
        b"HTTP/2.0",
    ),
    *(b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"GET /open HTTP/1.1\r\n" + _HOST + b"\r\n", b"a" * 9000),
)
# Own words for it: what the gateway itself says about names must not be what it is measured by.
_SEPARATORS: Final = re.compile("[^a-z0-9]+")
_FROM_GATEWAY: Final = {"xrequestid", "traceparent", "signature", "signatureinput", "contentdigest"}
_FORBIDDEN: Final = {_SEPARATORS.sub("", name) for name in IDENTITY_HEADERS} - _FROM_GATEWAY
_HOP_BY_HOP: Final = {"connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection", "expect"}
_REFUSALS: Final = frozenset({501, 505})


class Parsed:
    """What httptools, another parser than the gateway's, makes of the bytes."""

    def __init__(self, raw: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = 0
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(raw)
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1

    def serialised(self) -> bytes:
        """The same request written down cleanly."""
        lines = b"".join(b"%b: %b\r\n" % field for field in self.headers)
        return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (self.method, self.url, lines, self.body)


def mutated(chance: random.Random) -> bytes:
    """One to four requests of the corpus, some bytes of them changed."""
    raw = b"".join(chance.choices(SEEDS, k=chance.choice((1, 1, 1, 2, 4))))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(raw) + 1)
        end = min(len(raw), at + chance.choice((0, 0, 1, 2, 8, 40)))
        new = chance.choice(
            (
                b"",
                chance.choice(TOKENS),
                chance.randbytes(chance.choice((1, 2, 16))),
                raw[at:end] * 2,
                raw[at:end].swapcase(),
            )
        )
        raw = raw[:at] + new + raw[end:]
    return raw


def pieces(raw: bytes, chance: random.Random) -> list[bytes]:
    """The bytes, split at random points."""
    cuts = sorted(chance.randrange(len(raw) + 1) for _ in range(chance.choice((0, 1, 3, 10))))
    return [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


async def exchanged(node: Node, parts: list[bytes]) -> list[Message]:
    """Send the parts, end the sending side, and take the answers apart; the connection has to end by itself."""
    client = await node.connect()
    answers: list[Message] = []
    # The other side may be gone before everything is sent: that is what it is asked to do.
    with contextlib.suppress(ConnectionError, RuntimeError):
        for part in parts:
            client.write(part)
            await asyncio.sleep(0)
        client.end()
    got = await client.gone()
    client.close()
    heads = b"HEAD " in b"".join(parts)
    while got:
        head, end, rest = got.partition(b"\r\n\r\n")
        assert end, f"half an answer: {got!r}"
        message = Message(head + end, b"", head + end)
        bodiless = message.status < 200 or message.status == 204
        length = 0 if bodiless else int(message.value("content-length"))
        if heads and not rest.startswith((b"{", b"ok")):
            length = 0
        assert len(rest) >= length, f"an answer cut short: {got!r}"
        answers.append(Message(head + end, rest[:length], got))
        got = rest[length:]
    return [answer for answer in answers if answer.status >= 200]


def check_answers(raw: bytes, answers: list[Message]) -> None:
    """At most one answer for each request; none after one that closes; none that says something broke."""
    assert len(answers) <= raw.count(b"\r\n\r\n") + 1
    assert all(answer.values("connection") != ["close"] for answer in answers[:-1])
    for answer in answers:
        assert answer.status < 500 or answer.status in _REFUSALS, answer.raw


def check_forwarded(request: Message) -> None:
    """What the service got is one request, the same to another parser, and says nothing that only the gateway may."""
    parsed = Parsed(request.raw)
    assert parsed.complete == 1
    assert parsed.serialised() == request.raw
    path = request.line.split(" ")[1].partition("?")[0]
    assert canonical_path(path.encode()) == path
    assert path == "/open" or path.startswith("/open/"), "a protected path without a token"
    names = [name for name, _ in request.fields]
    plain = [_SEPARATORS.sub("", name) for name in names]
    assert _FORBIDDEN.isdisjoint(plain)
    assert all(plain.count(own) <= 1 for own in _FROM_GATEWAY)
    assert _HOP_BY_HOP.isdisjoint(names)
    assert not any("_" in name or "." in name for name in names)
    assert names.count("host") == 1
    assert names.count("content-length") + names.count("transfer-encoding") <= 1
    assert request.values("x-forwarded-for") == ["127.0.0.1"]


async def fuzz(node: Node, upstream: Upstream, *, rounds: int, seed: int) -> Counter[int]:
    """Send that many mutated messages, each on a connection of its own.

    Returns:
        How often each status was answered.

    Raises:
        AssertionError: a rule was broken; the text tells the bytes and how they were split.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    statuses: Counter[int] = Counter()
    for _ in range(rounds):
        parts = pieces(mutated(chance), chance)
        upstream.requests.clear()
        try:
            answers = await exchanged(node, parts)
            check_answers(b"".join(parts), answers)
            for request in upstream.requests:
                check_forwarded(request)
            assert len(upstream.requests) <= len(answers)
        except Exception as error:
            raise AssertionError(f"{error!r} after {parts!r}") from error
        statuses.update(answer.status for answer in answers)
    upstream.requests.clear()
    assert (await node.get("/open")).status == 200
    return statuses


async def _main(rounds: int, seed: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-edge-"))
    with nodes.redis(folder / "redis") as url:
        async with (
            upstreams.running(upstreams.recorder()) as upstream,
            nodes.running(nodes.settings(folder, url, upstream.url, log={"access": False})) as node,
        ):
            statuses = await fuzz(node, upstream, rounds=rounds, seed=seed)
    sys.stdout.write(f"seed {seed}: {statuses.total()} answers {dict(sorted(statuses.items()))}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    arguments = parser.parse_args()
    uvloop.run(_main(arguments.rounds, arguments.seed))


if __name__ == "__main__":
    main()
