"""A gateway with a users service behind it, and users with accounts there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench import lockgate, tokens
from bench.client import Client, request
from bench.machine import HOST, Running, free_port, started
from bench.site import PATH, Site, wait_for_port, wait_for_response
from bench.trees import OWN, Tree

PASSWORD: Final = "correct-horse-battery"  # noqa: S105 - of accounts that live as long as the measurement
PEOPLE: Final = 64
_PLENTY: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """A users service and a gateway that run.

    Attributes:
        port: of the gateway, which is one worker.
        keys: its key ring.
        configuration: its file.
        names: of the accounts, which all have `PASSWORD`.
    """

    port: int
    keys: Path
    configuration: Path
    gateway: Running
    users: Running
    names: tuple[str, ...]

    def token_file(self, folder: Path, count: int) -> Path:
        """A file with access tokens that the gateway accepts, one a line."""
        return tokens.write(folder / f"{self.port}-{count}.tokens", tokens.own(count, self.keys))


# Starts the users service with the cheapest hash that Argon2 has, where logins are to be measured without it.
WITHOUT_HASH: Final = """
import runpy
from lockgate_shop.users import passwords
passwords.MEMORY_KIB, passwords.TIME_COST = 8, 1
runpy.run_module("lockgate_shop.users", run_name="__main__", alter_sys=True)
"""


@contextlib.contextmanager
def opened(  # noqa: PLR0913 - what differs between measurements
    site: Site,
    name: str,
    *,
    tree: Tree = OWN,
    threads: int = 1,
    gateway: int | None = None,
    users: int | None = None,
    hashed: bool = True,
    people: int = PEOPLE,
) -> Iterator[Place]:
    """Start a users service and a gateway, and register users.

    Args:
        site: has Redis, and the service that the gateway forwards to.
        name: of a folder for the files of both.
        tree: the sources of both.
        threads: of the users service, to hash passwords with.
        gateway: the core that the gateway runs on; `None` for any.
        users: the core that the users service runs on; `None` for any.
        people: how many users are registered.
        hashed: whether a password costs what it does in practice, rather than next to nothing.
    """
    folder = site.folder / name
    folder.mkdir()
    port, users_port = free_port(), free_port()
    file = folder / "lockgate.toml"
    file.write_text(lockgate.toml(_configuration(site, folder, port, users_port)))
    tree.make_keys(file)
    service = {
        "USERS_LINK_KEYS": str(folder / "keys" / "links"),
        "USERS_DATABASE_URL": f"sqlite:///{folder}/users.db",
        "USERS_HASHING_THREADS": str(threads),
        "USERS_LOG_LEVEL": "warning",
    }
    users_command = tree.command("lockgate_shop.users", "--port", str(users_port), env=service, folder=folder)
    if not hashed:
        argv = [str(tree.python), "-P", "-c", WITHOUT_HASH, "--port", str(users_port)]
        users_command = replace(users_command, argv=argv)
    command = tree.command("lockgate.cli", "serve", "--workers", "1", "--config", str(file), folder=folder)
    with (
        started(users_command, users, folder / "users.log") as users_service,
        started(command, gateway, folder / "gateway.log") as worker,
    ):
        wait_for_port(users_service, "users", users_port)
        try:
            wait_for_response(worker, "lockgate", port)
        except RuntimeError:
            print((folder / "gateway.log").read_text())
            raise
        names = asyncio.run(_register(port, people))
        yield Place(port, folder / "keys", file, worker, users_service, names)


async def _register(port: int, people: int) -> tuple[str, ...]:
    names = tuple(f"person-{number:03}" for number in range(people))
    client = await Client.connect(port)
    for name in names:
        content = {"username": name, "password": PASSWORD}
        answer = await client.ask(request("POST", "/users/register", content=content))
        if answer.status != 201:  # noqa: PLR2004 - created
            raise RuntimeError(f"registering was answered {answer.status}: {answer.body!r}")
    client.close()
    return names


def _configuration(site: Site, folder: Path, port: int, users_port: int) -> dict[str, object]:
    users, orders = f"http://{HOST}:{users_port}", f"http://{HOST}:{site.service_port}"
    public = {"auth": "public", "methods": ["POST"], "public_write": True}
    return {
        "redis_url": site.redis_url,
        "server": {"port": port},
        "token": {"issuer": tokens.ISSUER, "audience": tokens.AUDIENCE, "access_life_s": tokens.LIFE_S},
        # Counted on every login, never reached: all of them come from one address here.
        "login": {f"{what}_attempts": _PLENTY for what in ("account", "address", "all")}
        | {"address_limit": _PLENTY, "refresh_limit": _PLENTY},
        "keys": {"directory": str(folder / "keys")},
        "roles": {tokens.ROLES[0]: list(tokens.SCOPES)},
        "log": {"access": False},
        "route": [
            {"name": "register", "prefix": "/users/register", "service": "users", "upstreams": [users], **public},
            {"name": "orders", "prefix": PATH[: PATH.index("/", 1)], "upstreams": [orders]},
        ],
    }
