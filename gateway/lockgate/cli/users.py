"""`lockgate users`: show, block and unblock users."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lockgate.cli.operating import NotFoundError, call, opened, show, sub_of
from lockgate.cli.table import table
from lockgate.cli.trail import actor
from lockgate.errors import LockgateError, Refusal, quoted
from lockgate.views import account_json

if TYPE_CHECKING:
    from lockgate.settings import Settings


def find(settings: Settings, user: str, *, as_json: bool) -> None:
    """Show an account, by id or name."""

    async def run() -> None:
        async with opened(settings) as operators:
            found = await operators.find(user, call())
        if found is None:
            raise NotFoundError(f"there is no user {quoted(user)}")
        row = (found.sub, found.username, found.status, " ".join(found.roles))
        show(account_json(found), "\n".join(table(("ID", "NAME", "STATUS", "ROLES"), [row])), as_json=as_json)

    asyncio.run(run())


def block(settings: Settings, user: str, *, as_json: bool) -> None:
    """Shut a user out, from the next request on."""

    async def run() -> None:
        async with opened(settings) as operators:
            sub = await sub_of(operators, user)
            if not await operators.block(sub, actor(), call()):
                raise NotFoundError(f"there is no user {quoted(user)}")
        show({"sub": sub, "status": "blocked"}, f"{user} is shut out, on every node", as_json=as_json)

    asyncio.run(run())


def unblock(settings: Settings, user: str, *, as_json: bool) -> None:
    """Let a user log in again."""

    async def run() -> None:
        async with opened(settings) as operators:
            sub = await sub_of(operators, user)
            if not await operators.unblock(sub, actor(), call()):
                raise NotFoundError(f"there is no user {quoted(user)}")
        show({"sub": sub, "status": "active"}, f"{user} may log in again", as_json=as_json)

    asyncio.run(run())


def grant(settings: Settings, user: str, role: str, *, as_json: bool) -> None:
    """Give a user a role."""

    async def run() -> None:
        async with opened(settings) as operators:
            sub = await sub_of(operators, user)
            roles = _describe_roles(await operators.grant_role(sub, role, actor(), call()), role)
        text = f"{user} is now: {' '.join(roles)}; tokens tell of it from the next login or refresh on"
        show({"sub": sub, "roles": list(roles)}, text, as_json=as_json)

    asyncio.run(run())


def revoke_role(settings: Settings, user: str, role: str, *, as_json: bool) -> None:
    """Take a role from a user, at once: everything they have ends."""

    async def run() -> None:
        async with opened(settings) as operators:
            sub = await sub_of(operators, user)
            roles = _describe_roles(await operators.revoke_role(sub, role, actor(), call()), role)
        text = f"{user} is now: {' '.join(roles)}; every session has ended, on every node"
        show({"sub": sub, "roles": list(roles)}, text, as_json=as_json)

    asyncio.run(run())


def _describe_roles(outcome: tuple[str, ...] | Refusal, role: str) -> tuple[str, ...]:
    if isinstance(outcome, Refusal):
        raise LockgateError(f"{outcome.reason.response.title.lower()}: {quoted(role)}")
    return outcome
