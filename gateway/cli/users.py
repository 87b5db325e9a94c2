"""`lockgate users`: who may log in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.cli.operating import NotFoundError, actor, opened, show, sub_of, visitor

if TYPE_CHECKING:
    from gateway.settings import Settings


def find(settings: Settings, user: str, *, as_json: bool) -> None:
    """Show an account, by id or name."""

    async def run() -> None:
        async with opened(settings) as operators:
            found = await operators.find(user, visitor())
        if found is None:
            raise NotFoundError(f"there is no user {user!r}")
        content = {"sub": found.sub, "username": found.username, "roles": found.roles, "status": found.status}
        show(content, f"{found.sub}  {found.username}  {found.status}  {' '.join(found.roles)}", as_json=as_json)

    asyncio.run(run())


def block(settings: Settings, user: str, *, as_json: bool) -> None:
    """Shut a user out, from the next request on."""

    async def run() -> None:
        async with opened(settings) as operators:
            sub = await sub_of(operators, user)
            await operators.block(sub, actor(), visitor())
        show({"sub": sub, "status": "blocked"}, f"{user} is shut out, on every node", as_json=as_json)

    asyncio.run(run())


def unblock(settings: Settings, user: str, *, as_json: bool) -> None:
    """Let a user log in again."""

    async def run() -> None:
        async with opened(settings) as operators:
            sub = await sub_of(operators, user)
            await operators.unblock(sub, actor(), visitor())
        show({"sub": sub, "status": "active"}, f"{user} may log in again", as_json=as_json)

    asyncio.run(run())
