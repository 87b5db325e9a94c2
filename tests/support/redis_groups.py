"""Groups of real Redis servers that stand for one another: a master with replicas and Sentinels, and a Cluster.

Small time-outs, so that a fail-over takes seconds; everything else as docs/guides/high-availability.md says.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError

from lockgate.cli.devstack import redis_server
from lockgate.stores.layout import UserKeys

HOST: Final = "127.0.0.1"
MASTER: Final = "lockgate"
"""What the Sentinels call the master."""
DOWN_AFTER_MS: Final = 1000
FAILOVER_TIMEOUT_MS: Final = 2000
"""Sentinels start a fail-over at most once in twice this time."""
UP_WITHIN_S: Final = 30
SLOTS: Final = 16384

PASSWORD: Final = "of-the-test"
REPLICA: Final = "replica"
WATCHER: Final = "watcher"
GATEWAY: Final = "gateway"
"""Users of replicas and Sentinels at the servers, and of gateways at the Sentinels: each is cut off by its name."""

_DURABLE: Final = ("--appendonly", "no", "--save", "", "--maxmemory-policy", "noeviction")
_PROMPT: Final = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--hz", "50")


@dataclass
class Server:
    """One server process, at an address that it keeps.

    Attributes:
        options: of its command line, after the port.
        password: of its default user, where that has one.
    """

    folder: Path
    port: int
    options: tuple[str, ...]
    password: str | None = None
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Start the server; it may not reply yet."""
        self.folder.mkdir(exist_ok=True)
        self.log = (self.folder / "log").open("ab")
        argv = [str(redis_server.find_program()), *self.options, "--port", str(self.port), "--dir", str(self.folder)]
        argv += ["--bind", HOST, "--daemonize", "no"]
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log)  # noqa: S603 - our own argv

    def kill(self) -> None:
        """SIGKILL; does nothing where it is dead already."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None
        if self.log is not None:
            self.log.close()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """A client of the test's own."""
        async with Redis(
            host=HOST, port=self.port, password=self.password, retry=Retry(NoBackoff(), 0), socket_timeout=2
        ) as client:
            yield client

    async def ask(self, *command: str | int) -> Any:  # noqa: ANN401 - as Redis answers
        """One command."""
        async with self.client() as client:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py


@contextlib.asynccontextmanager
async def cut_off(server: Server, *users: str) -> AsyncIterator[None]:
    """Let no user of these names reach a server, nor go on with a connection that is open."""
    for user in users:
        await server.ask("ACL", "SETUSER", user, "off")
        await server.ask("CLIENT", "KILL", "USER", user)
    try:
        yield
    finally:
        for user in users:
            await server.ask("ACL", "SETUSER", user, "on")


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again and again, within `UP_WITHIN_S`; a server that does not reply counts as no."""
    try:
        async with asyncio.timeout(UP_WITHIN_S):
            while not await _says(holds):
                pass
    except TimeoutError:
        raise AssertionError(f"not within {UP_WITHIN_S} s: {what}") from None


async def _says(holds: Callable[[], Awaitable[bool]]) -> bool:
    with contextlib.suppress(RedisError, OSError):
        return await holds()
    return False


def free_ports(count: int) -> list[int]:
    """Ports without a listener now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextlib.asynccontextmanager
async def _running(servers: list[Server]) -> AsyncIterator[None]:
    try:
        for server in servers:
            server.start()
        for server in servers:
            await until(partial(_answers, server), f"{server.address} answers")
        yield
    finally:
        for server in servers:
            server.kill()


async def _answers(server: Server) -> bool:
    return bool(await server.ask("PING"))


# --- Sentinel ---------------------------------------------------------------------------------------------------------


@dataclass
class SentinelGroup:
    """A master, its replicas, and Sentinels that agree on them.

    Attributes:
        servers: the master is the first, to begin with.
    """

    servers: list[Server]
    sentinels: list[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(sentinel.address for sentinel in self.sentinels)
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{MASTER}"

    @property
    def named_url(self) -> str:
        """The same, for a gateway that Sentinels know by name."""
        return f"{self.url}?sentinel_username={GATEWAY}&sentinel_password={PASSWORD}"

    async def heal(self) -> None:
        """Have every server up, and follow the master that most Sentinels name. Alone they take eight seconds."""
        for server in self.servers:
            if server.process is None:
                server.start()
            await until(partial(_answers, server), f"{server.address} answers")
        master = await self.master()
        for server in self.servers:
            if server is not master:
                await server.ask("REPLICAOF", HOST, master.port)
        await until(partial(_confirms, master, "something", len(self.servers) - 1), "the replicas follow")
        for sentinel in self.sentinels:
            await until(partial(_knows_all, sentinel), "a Sentinel knows the others")

    async def master(self) -> Server:
        """The master that most Sentinels name."""
        named = [await named_by(sentinel) for sentinel in self.sentinels if sentinel.process is not None]
        port = max(set(named), key=named.count)
        return next(server for server in self.servers if server.port == port)

    @contextlib.asynccontextmanager
    async def switching(self) -> AsyncIterator[Callable[[], Awaitable[Server]]]:
        """Gives a function that waits until a Sentinel says that there is another master, and tells which."""
        async with self.sentinels[0].client() as client, client.pubsub() as channel:
            await channel.subscribe("+switch-master")

            async def switched() -> Server:
                async with asyncio.timeout(UP_WITHIN_S):
                    while True:
                        said = await channel.get_message(ignore_subscribe_messages=True, timeout=UP_WITHIN_S)
                        if said is not None:
                            port = int(said["data"].split()[-1])
                            return next(server for server in self.servers if server.port == port)

            yield switched


async def named_by(sentinel: Server) -> int:
    """The port of a Sentinel's master."""
    async with sentinel.client() as client:
        address: Any = await client.sentinel_get_master_addr_by_name(MASTER)
    return int(address[1])


@contextlib.asynccontextmanager
async def sentinel_group(folder: Path) -> AsyncIterator[SentinelGroup]:
    """One master, two replicas, three Sentinels."""
    ports = free_ports(6)
    options = [*_DURABLE, *_PROMPT, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "10"]
    options += ["--requirepass", PASSWORD, "--masteruser", REPLICA, "--masterauth", PASSWORD]
    for user in (REPLICA, WATCHER):
        options += ["--user", user, "on", f">{PASSWORD}", "~*", "&*", "+@all"]
    servers = [
        Server(
            folder / f"redis-{port}", port, (*options, *(("--replicaof", f"{HOST} {ports[0]}") if n else ())), PASSWORD
        )
        for n, port in enumerate(ports[:3])
    ]
    sentinels = [_sentinel(folder, n, ports) for n in range(3)]
    async with _running(servers), _running(sentinels):
        await until(partial(_confirms, servers[0], "something", 2), "the replicas follow")
        for sentinel in sentinels:
            await until(partial(_knows_all, sentinel), "a Sentinel knows the others")
        yield SentinelGroup(servers, sentinels)


async def _confirms(server: Server, key: str, replicas: int) -> bool:
    """Whether what a master writes gets to its replicas; a link to one that is up may not have begun to."""
    async with server.client() as client, client.pipeline(transaction=False) as pipe:
        pipe.set(key, "1")
        pipe.delete(key)
        pipe.wait(replicas, 1000)
        return bool((await pipe.execute())[-1] == replicas)


def _sentinel(folder: Path, number: int, ports: list[int]) -> Server:
    """A Sentinel that is told of the others, which it would otherwise have to hear of first."""
    own = folder / f"sentinel-{number}"
    own.mkdir()
    ids = [f"{n + 1:040x}" for n in range(3)]
    lines = [
        f"sentinel myid {ids[number]}",
        f"sentinel monitor {MASTER} {HOST} {ports[0]} 2",
        f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MS}",
        f"sentinel auth-user {MASTER} {WATCHER}",
        f"sentinel auth-pass {MASTER} {PASSWORD}",
        f"user {GATEWAY} on >{PASSWORD} ~* &* +@all",
        *(f"sentinel known-replica {MASTER} {HOST} {port}" for port in ports[1:3]),
        *(f"sentinel known-sentinel {MASTER} {HOST} {ports[3 + n]} {ids[n]}" for n in range(3) if n != number),
    ]
    (own / "sentinel.conf").write_text("\n".join(lines) + "\n")
    return Server(own, ports[3 + number], (str(own / "sentinel.conf"), "--sentinel"))


async def _knows_all(sentinel: Server) -> bool:
    async with sentinel.client() as client:
        masters: Any = await client.sentinel_masters()
        replicas: Any = await client.sentinel_slaves(MASTER)
    healthy = [one for one in replicas if not one["is_sdown"] and one["master-link-status"] == "ok"]
    state = masters[MASTER]
    return state["num-other-sentinels"] == 2 and len(healthy) == 2 and not state["is_sdown"]


# --- Cluster ----------------------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """Three masters, and a replica for each where there are replicas.

    Attributes:
        masters: each with a third of the slots, in this order.
        replicas: by the number of their master.
    """

    masters: list[Server]
    replicas: list[Server]
    ids: dict[int, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"redis+cluster://{self.masters[0].address},{self.masters[1].address}"

    @property
    def servers(self) -> list[Server]:
        return [*self.masters, *self.replicas]

    @staticmethod
    def slots(number: int) -> tuple[int, int]:
        """First and last slot of a master."""
        return number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1

    def user_at(self, number: int, prefix: str = "user", skip: int = 0) -> str:
        """A user with keys in the slots of a master."""
        first, last = self.slots(number)
        found = (f"{prefix}-{n}" for n in range(10_000) if first <= slot_of(f"{prefix}-{n}") <= last)
        for _ in range(skip):
            next(found)
        return next(found)

    async def flush(self) -> None:
        for server in self.masters:
            await server.ask("FLUSHALL")

    async def move_slot(self, slot: int, source: Server, target: Server) -> None:
        """Have another master own a slot that has no keys in it, as `redis-cli --cluster reshard` does at last."""
        for server in [target, source, *self.masters]:
            await server.ask("CLUSTER", "SETSLOT", slot, "NODE", self.ids[target.port])


def slot_of(sub: str) -> int:
    """The slot of a user's keys."""
    return key_slot(UserKeys.of(sub).epoch.encode())


@contextlib.asynccontextmanager
async def cluster(folder: Path, *, replicas: bool = False) -> AsyncIterator[Cluster]:
    """A Cluster of three masters, with a replica each if wanted."""
    count = 6 if replicas else 3
    free = free_ports(2 * count)  # asked for at once, or one of them could come twice
    ports, buses = free[:count], free[count:]
    servers = [_node(folder, port, bus) for port, bus in zip(ports, buses, strict=True)]
    made = Cluster(servers[:3], servers[3:])
    async with _running(servers):
        await _join(made, dict(zip(ports, buses, strict=True)))
        yield made


def _node(folder: Path, port: int, bus: int) -> Server:
    options = {
        "--cluster-enabled": "yes",
        "--cluster-port": str(bus),
        "--cluster-node-timeout": str(DOWN_AFTER_MS),
        "--cluster-require-full-coverage": "no",
        "--cluster-replica-validity-factor": "0",
    }
    words = (word for pair in options.items() for word in pair)
    return Server(folder / f"node-{port}", port, (*_DURABLE, *_PROMPT, *words))


async def _join(made: Cluster, buses: dict[int, int]) -> None:
    for epoch, server in enumerate(made.servers, start=1):
        await server.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        made.ids[server.port] = (await server.ask("CLUSTER", "MYID")).decode()
    for number, server in enumerate(made.masters):
        await server.ask("CLUSTER", "ADDSLOTSRANGE", *made.slots(number))
    first, *others = made.servers
    for server in others:
        await server.ask("CLUSTER", "MEET", HOST, first.port, buses[first.port])
    for server in made.servers:
        await until(partial(_is_joined, server, len(made.servers)), "a node knows the others")
    for number, server in enumerate(made.replicas):
        await server.ask("CLUSTER", "REPLICATE", made.ids[made.masters[number].port])
    for number, server in enumerate(made.masters if made.replicas else []):
        await until(partial(_confirms, server, UserKeys.of(made.user_at(number)).epoch, 1), "a replica follows")
    for server in made.servers if made.replicas else []:
        await until(partial(_knows_replicas, server), "all know whose replica is whose")


async def _is_joined(server: Server, count: int) -> bool:
    info = await server.ask("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == count


async def _knows_replicas(server: Server) -> bool:
    nodes = await server.ask("CLUSTER NODES")
    return sum("slave" in node["flags"] for node in nodes.values()) == 3


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)
