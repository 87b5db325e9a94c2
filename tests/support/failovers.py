"""Masters that are lost under load, again and again, as clients of two gateways see it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Final

from tests.support.history import Did, Op, violations
from tests.support.node import HOST, Process
from tests.support.raw import Message, Wire
from tests.support.redis_groups import GATEWAY, REPLICA, WATCHER, SentinelGroup, Server, cut_off, stopped
from tests.support.shop_rig import PASSWORD

AFTER_S: Final = 2.0
"""How long after each switch ends count that must not be believed too early."""
LANES: Final = 6
"""At each gateway: clients that end tokens, one after the other."""
KEPT: Final = 60
"""Of tokens that have been ended most recently: sent again all the time."""
GIVEN_UP: Final = (OSError, TimeoutError, AssertionError, asyncio.IncompleteReadError)
"""What a client sees of a gateway that has been stopped."""
PEOPLE: Final = [f"person-{number}" for number in range(1000)]
"""The users that log in, in turn: so many that none has more sessions than allowed."""
MASTER_FAULTS: Final = ("freeze", "kill", "unwatch", "isolate")
GATEWAY_FAULTS: Final = ("none", "freeze", "none", "cut")


@dataclass
class Round:
    """One fail-over.

    Attributes:
        fault, gateway_fault: the fault of the master, and of one of the gateways.
        switched: when a Sentinel told of the new master; seconds of `time.monotonic`.
        history: the requests of clients and their responses.
        lost: logins and ends that were acknowledged, and are forgotten.
    """

    fault: str
    gateway_fault: str
    begun: float = field(default_factory=time.monotonic)
    switched: float = 0.0
    history: list[Did] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def ends_soon_after(self) -> int:
        """Acknowledged ends within `AFTER_S` of the switch."""
        ends = (did for did in self.history if did.op in (Op.REVOKE, Op.LOGOUT) and did.worked)
        return sum(self.switched <= did.ended <= self.switched + AFTER_S for did in ends)

    @property
    def outage_s(self) -> float:
        """From the switch to the first acknowledged end that was asked for after it."""
        ends = (did for did in self.history if did.op in (Op.REVOKE, Op.LOGOUT) and did.worked)
        return min((did.ended - self.switched for did in ends if did.begun > self.switched), default=float("inf"))

    @property
    def found(self) -> list[str]:
        """The broken promises, in words."""
        return violations(self.history) + self.lost

    def __str__(self) -> str:
        statuses = Counter(did.status for did in self.history)
        after = f"{self.ends_soon_after} ends in {AFTER_S} s, the first after {self.outage_s:.2f} s"
        return f"{self.fault}/{self.gateway_fault}: {after}, {dict(statuses)}, {len(self.found)} violations"


class Failovers:
    """Loses masters of a group, one after the other.

    Args:
        group: of Redis.
        gateways: two; the second one suffers, too, and is known to the Sentinels by name.
    """

    def __init__(self, group: SentinelGroup, gateways: tuple[Process, Process]) -> None:
        self._group = group
        self._gateways = gateways
        self._names = count()
        self._people = cycle(PEOPLE)

    async def run(self, fault: str, gateway_fault: str) -> Round:
        """One fail-over under load, until the group is whole again."""
        await self._group.heal()
        made = Round(fault, gateway_fault)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for gateway in self._gateways:
                ended: list[tuple[str, str]] = []
                for _ in range(LANES):
                    tasks.create_task(self._end_tokens(made, gateway, ended, over))
                tasks.create_task(self._log_in(made, gateway, over))
            await self._suffer(made)
            over.set()
        await self._group.heal()
        await self._look_for_lost(made)
        return made

    async def _suffer(self, made: Round) -> None:
        await asyncio.sleep(0.5)
        master = await self._group.master()
        async with self._group.switching() as switched, contextlib.AsyncExitStack() as harm:
            await harm.enter_async_context(self._harmed(master, made.fault))
            suffering = await harm.enter_async_context(contextlib.AsyncExitStack())
            await suffering.enter_async_context(self._gateway_harmed(made.gateway_fault))
            await switched()
            made.switched = time.monotonic()
            if made.fault == "freeze" and master.process is not None:
                master.process.send_signal(signal.SIGCONT)
            if made.gateway_fault == "freeze":
                await suffering.aclose()
            await asyncio.sleep(AFTER_S + 0.5)

    @contextlib.asynccontextmanager
    async def _harmed(self, master: Server, fault: str) -> AsyncIterator[None]:
        if fault == "kill":
            master.kill()
            yield
        elif fault == "freeze":
            with stopped(master):
                yield
        else:
            users = (WATCHER,) if fault == "unwatch" else (WATCHER, REPLICA)
            async with cut_off(master, *users):
                yield

    @contextlib.asynccontextmanager
    async def _gateway_harmed(self, fault: str) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as harm:
            if fault == "cut":
                for sentinel in self._group.sentinels:
                    await harm.enter_async_context(cut_off(sentinel, GATEWAY))
            elif fault == "freeze":
                child = self._gateways[1].child
                child.send_signal(signal.SIGSTOP)
                harm.callback(child.send_signal, signal.SIGCONT)
            yield

    async def _end_tokens(
        self, made: Round, gateway: Process, ended: list[tuple[str, str]], over: asyncio.Event
    ) -> None:
        """Use a token, end it, and use all that have been ended lately at both gateways."""
        ends = cycle((Op.REVOKE, Op.LOGOUT))
        while not over.is_set():
            async with connected(gateway, *self._gateways) as wires:
                if wires is None:
                    continue
                wire, *others = wires
                with contextlib.suppress(*GIVEN_UP):
                    while not over.is_set():
                        name = f"user-{next(self._names)}"
                        token = gateway.tokens.token(sub=name, sid=f"sid-{name}")
                        did = await asked(wire, next(ends), name, token)
                        made.history.append(did)
                        if did.worked:
                            ended.append((name, token))
                            del ended[:-KEPT]
                        for each in others:
                            for sub, old in (*ended[-1:], *ended[next(self._names) % max(1, len(ended)) :][:2]):
                                made.history.append(await asked(each, Op.CALL, sub, old))

    async def _log_in(self, made: Round, gateway: Process, over: asyncio.Event) -> None:
        while not over.is_set():
            async with connected(gateway) as wires:
                if wires is None:
                    continue
                with contextlib.suppress(*GIVEN_UP):
                    while not over.is_set():
                        did = await asked(wires[0], Op.LOGIN, next(self._people))
                        made.history.append(did)
                        await asyncio.sleep(0.02)

    async def _look_for_lost(self, made: Round) -> None:
        """After the recovery, look for acknowledged changes that are lost."""
        async with connected(self._gateways[0]) as wires:
            assert wires is not None
            for did in [one for one in made.history if one.worked and one.op is not Op.CALL]:
                if did.op is Op.LOGIN:
                    again = await settled(wires[0], Op.REFRESH, did.user, did.refresh)
                    if again.status != 200:
                        made.lost.append(f"{again.status} for the refresh token of {did}")
                else:
                    again = await settled(wires[0], Op.CALL, did.user, did.token)
                    if again.status != 401:
                        made.lost.append(f"{again.status} after {did}")


async def settled(wire: Wire, op: Op, user: str, token: str) -> Did:
    """Ask until the response is no 503."""
    while (did := await asked(wire, op, user, token)).status == 503:
        pass
    return did


@contextlib.asynccontextmanager
async def connected(*gateways: Process) -> AsyncIterator[list[Wire] | None]:
    """A connection to each, or `None` where one cannot be had now."""
    wires: list[Wire] = []
    try:
        for gateway in gateways:
            wires.append(await gateway.connect())  # noqa: PERF401 - those that were opened are closed also where one fails
    except GIVEN_UP:
        yield None
    else:
        yield wires
    finally:
        for wire in wires:
            wire.close()


async def asked(wire: Wire, op: Op, user: str, token: str = "") -> Did:
    """Send one request, and record its outcome."""
    begun = time.monotonic()
    if op is Op.CALL:
        answer = await sent(wire, "GET /orders", token)
    elif op is Op.LOGOUT:
        answer = await sent(wire, "POST /auth/logout", token, {})
    elif op is Op.REVOKE:
        answer = await sent(wire, "POST /auth/revoke", "", {"token": token})
    elif op is Op.REFRESH:
        answer = await sent(wire, "POST /auth/refresh", "", {"refresh_token": token})
    else:
        answer = await sent(wire, "POST /auth/login", "", {"username": user, "password": PASSWORD})
    given = answer.json if op in (Op.LOGIN, Op.REFRESH) and answer.status == 200 else {}
    session = given.get("session_id") or f"sid-{user}"
    return Did(
        op=op,
        user=user,
        session=session,
        token=token,
        begun=begun,
        ended=time.monotonic(),
        status=answer.status,
        access=given.get("access_token", ""),
        refresh=given.get("refresh_token", ""),
        seen=(user, session),
    )


async def sent(wire: Wire, line: str, token: str, content: dict[str, str] | None = None) -> Message:
    """The response to one request."""
    body = b"" if content is None else json.dumps(content).encode()
    fields = f"Authorization: Bearer {token}\r\n" if token else ""
    if content is not None:
        fields += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    await wire.send(f"{line} HTTP/1.1\r\n{HOST}{fields}\r\n".encode() + body)
    return await wire.message()
