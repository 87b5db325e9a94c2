"""The clients of a soak: most behave, some hang up at the worst moment, some are slow, and all check each response.

A response has to belong to its own request and user. While a service is being restarted, a response may be 502, 503 or
504, or break off; it may never belong to another client.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from bench.client import Answer, Client, request
from bench.echo import digest, said
from bench.machine import HOST

AWAY: Final = frozenset({502, 503, 504})
UNAUTHORISED: Final = 401
OK: Final = 200
_MEGABYTE: Final = 1_000_000
_PIECES: Final = 8
_PAUSE_S: Final = 0.2
_READ: Final = 32_768
_SMALL_BUFFER: Final = 16_384
_TURNS_OF_A_SOCKET: Final = 50


class Person(NamedTuple):
    """A user with a token."""

    user: str
    token: str


@dataclass(slots=True)
class Seen:
    """The observations of the crowd.

    Attributes:
        statuses: responses by kind of client.
        broken: connections that broke off before the response was complete, by kind.
        hung_up: connections that the clients broke off themselves, by kind.
        crossed: descriptions of the responses that belonged to another client.
        away: responses with a status of `AWAY`, by the code of the problem.
        wrong: responses that were neither right nor in `away`.
    """

    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    broken: Counter[str] = field(default_factory=Counter)
    hung_up: Counter[str] = field(default_factory=Counter)
    crossed: list[str] = field(default_factory=list)
    away: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)


class Crowd:
    """All clients of the soak.

    Args:
        port: of the gateway.
        people: users with tokens that live.
        leavers: users that each revoke their token once.
    """

    def __init__(self, port: int, people: Sequence[Person], leavers: Sequence[Person]) -> None:
        self._port = port
        self._people = people
        self._leavers = list(leavers)
        self._chance = random.Random()  # noqa: S311 - no secret
        self._over = asyncio.Event()
        self.seen = Seen()

    async def run(self, seconds: float, members: dict[str, int]) -> None:
        """Run so many clients of each kind for some seconds; they end in order."""
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "fast": self._fast,
            "big": self._big,
            "slow sender": self._slow_sender,
            "slow reader": self._slow_reader,
            "hangs up": self._hangs_up,
            "anonymous": self._anonymous,
            "leaves": self._leaves,
            "socket": self._socket,
        }
        async with asyncio.TaskGroup() as tasks:
            for kind, count in members.items():
                for _ in range(count):
                    tasks.create_task(self._again_and_again(kind, kinds[kind]))
            await asyncio.sleep(seconds)
            self._over.set()
        self._over.clear()

    async def _again_and_again(self, kind: str, life: Callable[[], Awaitable[None]]) -> None:
        while not self._over.is_set():
            try:
                await life()
            except (OSError, EOFError, ConnectionClosed, InvalidHandshake):
                self.seen.broken[kind] += 1

    async def _fast(self) -> None:
        """Send requests of many users on one connection."""
        client = await Client.connect(self._port)
        try:
            while not self._over.is_set():
                await self._echoed("fast", client)
        finally:
            client.close()

    async def _big(self) -> None:
        client = await Client.connect(self._port)
        try:
            while not self._over.is_set():
                await self._echoed("big", client, body=secrets.token_bytes(_MEGABYTE), size=_MEGABYTE)
        finally:
            client.close()

    async def _echoed(self, kind: str, client: Client, body: bytes = b"", size: int = 0) -> None:
        person, nonce = self._chance.choice(self._people), secrets.token_hex(8)
        answer = await client.ask(_asking(person, nonce, body, size))
        self._check(kind, answer, person, nonce, digest(body), size)
        if answer.status in AWAY:
            await asyncio.sleep(_PAUSE_S)

    async def _slow_sender(self) -> None:
        """Send head and body in small pieces."""
        person, nonce, body = self._chance.choice(self._people), secrets.token_hex(8), secrets.token_bytes(4_096)
        raw = _asking(person, nonce, body)
        client = await Client.connect(self._port)
        try:
            cuts = sorted(self._chance.sample(range(1, len(raw)), _PIECES))
            for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
                client.writer.write(raw[start:end])
                await asyncio.sleep(_PAUSE_S)
            self._check("slow sender", await client.answer(), person, nonce, digest(body), 0)
        finally:
            client.close()

    async def _slow_reader(self) -> None:
        """Read a megabyte in small pieces, through a small buffer."""
        person, nonce = self._chance.choice(self._people), secrets.token_hex(8)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            sock.setblocking(False)  # noqa: FBT003 - the only spelling
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (HOST, self._port))
            await loop.sock_sendall(sock, _last(_asking(person, nonce, size=_MEGABYTE)))
            got = bytearray()
            while data := await loop.sock_recv(sock, _READ):
                got += data
                await asyncio.sleep(_PAUSE_S / 4)
        head, _, content = bytes(got).partition(b"\r\n\r\n")
        if not head:
            raise EOFError
        answer = Answer(int(head[9:12]), head, content)
        if answer.status == OK and len(content) < _MEGABYTE:
            raise EOFError
        self._check("slow reader", answer, person, nonce, digest(b""), _MEGABYTE)

    async def _hangs_up(self) -> None:
        """Break off in the head, the body or the response, or before the response; in order or by a reset."""
        chance = self._chance
        person, nonce = chance.choice(self._people), secrets.token_hex(8)
        with_body = _asking(person, nonce, secrets.token_bytes(20_000))
        asked = _last(_asking(person, nonce, size=chance.choice((0, _MEGABYTE))))
        sent, read = chance.choice(
            (
                (asked[: chance.randrange(1, len(asked))], 0),
                (with_body[: chance.randrange(len(with_body) - 20_000, len(with_body))], 0),
                (asked, 0),
                (asked, chance.randrange(1, _MEGABYTE // 2)),
            )
        )
        client = await Client.connect(self._port)
        try:
            client.writer.write(sent)
            await asyncio.sleep(chance.choice((0, 0.001, 0.01)))
            while read > 0 and (data := await client.reader.read(_READ)):
                read -= len(data)
        finally:
            if chance.random() < 0.5:  # noqa: PLR2004 - one in two
                _reset_at_close(client)
            client.close()
            self.seen.hung_up["hangs up"] += 1

    async def _anonymous(self) -> None:
        """Send no token or a spoilt one, on the connection that another user's request used before."""
        client = await Client.connect(self._port)
        try:
            while not self._over.is_set():
                await self._echoed("anonymous", client)
                person = self._chance.choice(self._people)
                token = self._chance.choice((None, person.token[:-4] + "AAAA"))
                answer = await client.ask(request("GET", f"/echo/{secrets.token_hex(8)}", token=token))
                self._expect("anonymous", answer, {UNAUTHORISED})
                await asyncio.sleep(_PAUSE_S / 10)
        finally:
            client.close()

    async def _leaves(self) -> None:
        """Send a request, revoke its token, and send it again: after the revocation it must be refused."""
        if not self._leavers:
            await self._over.wait()
            return
        person, client = self._leavers.pop(), await Client.connect(self._port)
        try:
            nonce = secrets.token_hex(8)
            self._check("leaves", await client.ask(_asking(person, nonce)), person, nonce, digest(b""), 0)
            revoked = await client.ask(request("POST", "/auth/revoke", content={"token": person.token}))
            if revoked.status == OK:
                self._expect("leaves", await client.ask(_asking(person, nonce)), {UNAUTHORISED})
            await asyncio.sleep(_PAUSE_S / 4)
        finally:
            client.close()

    async def _socket(self) -> None:
        person = self._chance.choice(self._people)
        bearer = {"Authorization": f"Bearer {person.token}"}
        async with connect(f"ws://{HOST}:{self._port}/sockets", additional_headers=bearer, proxy=None) as opened:
            for _ in range(_TURNS_OF_A_SOCKET):
                nonce = secrets.token_hex(8)
                await opened.send(nonce)
                got = await opened.recv()
                self.seen.statuses["socket"][OK] += 1
                if got != f"{person.user} {nonce}":
                    self.seen.crossed.append(f"socket of {person.user}: {got!s}")
                if self._over.is_set():
                    return
                await asyncio.sleep(_PAUSE_S / 4)

    def _check(  # noqa: PLR0913, PLR0917 - all that makes an answer the right one
        self, kind: str, answer: Answer, person: Person, nonce: str, body_digest: str, size: int
    ) -> None:
        if answer.status == OK and answer.body != said(person.user, nonce, body_digest, size):
            self.seen.crossed.append(f"{kind}, {person.user} {nonce}: {answer.body[:80]!r}")
        self._expect(kind, answer, {OK})

    def _expect(self, kind: str, answer: Answer, right: set[int]) -> None:
        self.seen.statuses[kind][answer.status] += 1
        if answer.status in AWAY:
            self.seen.away[answer.json["code"]] += 1
        elif answer.status not in right:
            self.seen.wrong[f"{kind}: {answer.status}"] += 1


def _asking(person: Person, nonce: str, body: bytes = b"", size: int = 0) -> bytes:
    path = f"/echo/{nonce}?size={size}" if size else f"/echo/{nonce}"
    return request("POST" if body else "GET", path, token=person.token, content=body or None)


def _last(raw: bytes) -> bytes:
    """The same, as the only request of its connection."""
    return raw.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


def _reset_at_close(client: Client) -> None:
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
