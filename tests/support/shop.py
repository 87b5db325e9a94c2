"""A gateway node, the real users service behind it, and a client: the parts that a login needs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from lockgate.accounts.users import AT_ONCE
from lockgate.upstream.client import build_upstreams
from lockgate_shop.users.accounts import Accounts, Registration
from lockgate_shop.users.app import create_app
from lockgate_shop.users.models import AccountRecord, Role
from lockgate_shop.users.settings import UsersSettings
from lockgate_trust import LinkKeys
from tests.support import node as nodes
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.peers import CHEAP, NO_AUTHORITY, served
from tests.support.raw import WITHIN_S

DATABASE: Final = "users.db"
PASSWORD: Final = "correct-horse-battery"


@dataclass(frozen=True, slots=True)
class Shop:
    """A node with users.

    Attributes:
        http: a client of the node.
        users: the accounts, without a gateway in between.
    """

    node: Node
    http: httpx.AsyncClient
    users: Accounts

    async def add_user(self, username: str, *, admin: bool = False) -> str:
        """Register a user with `PASSWORD`; the `sub`."""
        roles = (Role.CUSTOMER, Role.ADMIN) if admin else (Role.CUSTOMER,)
        account = await self.users.register_account(Registration(username=username, password=PASSWORD), roles)
        assert isinstance(account, AccountRecord)
        return str(account.id)

    async def login(self, username: str, password: str = PASSWORD, **more: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """Try to log in."""
        return await self.http.post("/auth/login", json={"username": username, "password": password, **more})

    async def tokens(self, username: str) -> dict[str, Any]:
        """Log in, and return the content of the response."""
        answer = await self.login(username)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    async def events(self, *names: str) -> list[dict[str, str]]:
        """The audit trail, oldest first; only these events, if any are named."""
        await self.node.worker.auth.audit.flush()
        found = reversed(await self.node.worker.auth.trail.latest(500))
        return [event for event in found if not names or event["event"] in names]

    async def move_accounts(self, url: str) -> None:
        """Let the node ask for accounts at another address."""
        node = self.node
        client = node.worker.auth.accounts._client  # noqa: SLF001 - a running gateway does not change its addresses
        for upstream in client._upstreams:  # noqa: SLF001 - as above
            await upstream.close()
        moved = build_upstreams([url], node.settings.upstream, node.worker.base.ticker, at_once=AT_ONCE)
        client._upstreams = tuple(moved)  # noqa: SLF001 - as above


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    redis_url: str,
    orders_url: str,
    **sections: Any,  # noqa: ANN401 - as in the configuration file
) -> AsyncIterator[Shop]:
    """A shop with routes that all lead to one service.

    Args:
        folder: for keys, and for the users' `DATABASE`, which may be there already.
        redis_url: of a running Redis.
        orders_url: of the service.
        sections: as in the configuration file.
    """
    clock = ManualClock()
    keys = nodes.settings(folder, redis_url, orders_url).keys
    users = UsersSettings(database_url=f"sqlite:///{folder / DATABASE}")
    app = create_app(users, LinkKeys.load(keys.directory / "links", "users"), clock.now, CHEAP)
    async with app.router.lifespan_context(app), served(app) as users_url:
        # Passwords are hashed in this process, behind everything else: a busy machine is no users service that is away.
        patient = {"upstreams": {"users": [users_url]}, "accounts": {"timeout_s": WITHIN_S}}
        configured = nodes.settings(folder, redis_url, orders_url, **(patient | sections))
        async with nodes.running(configured, clock) as node, client(node) as http:
            yield Shop(node, http, app.state.accounts)


@contextlib.asynccontextmanager
async def another_node(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a second node of the same shop, by the same clock."""
    async with nodes.running(shop.node.settings, shop.node.clock) as node, client(node) as http:
        yield http


def client(node: Node) -> httpx.AsyncClient:
    """A client of a node."""
    # A new connection for each request: a test that lets a minute pass lets a kept one die.
    limits = httpx.Limits(max_keepalive_connections=0)
    url = f"http://127.0.0.1:{node.port}"
    return httpx.AsyncClient(base_url=url, limits=limits, timeout=30, trust_env=False, verify=NO_AUTHORITY)


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    """The field that carries the access token."""
    return {"authorization": f"Bearer {tokens['access_token']}"}


def code(answer: httpx.Response) -> tuple[int, str]:
    """The part of a refusal that a client reads."""
    return answer.status_code, answer.json()["code"]
