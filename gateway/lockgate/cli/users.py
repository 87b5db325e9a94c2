"""`lockgate users`: show, block and unblock users."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lockgate.cli.operating import NotFoundError, command_origin, open_administration, show_result, sub_of
from lockgate.cli.table import format_table
from lockgate.cli.trail import audit_actor
from lockgate.environment import find_near
from lockgate.errors import LockgateError, Reason, Refusal, quoted
from lockgate.views import account_json

if TYPE_CHECKING:
    from lockgate.settings import Settings


def show_user(settings: Settings, user: str, *, as_json: bool) -> None:
    """Show an account, by id or name."""

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            found = await operators.find(user, command_origin())
        if found is None:
            raise NotFoundError(f"there is no user {quoted(user)}")
        row = (found.sub, found.username, found.status, " ".join(found.roles))
        show_result(
            account_json(found), "\n".join(format_table(("ID", "NAME", "STATUS", "ROLES"), [row])), as_json=as_json
        )

    asyncio.run(run_command())


def block_user(settings: Settings, user: str, *, as_json: bool) -> None:
    """Shut a user out, from the next request on."""

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            sub = await sub_of(operators, user)
            if not await operators.block(sub, audit_actor(), command_origin()):
                raise NotFoundError(f"there is no user {quoted(user)}")
        show_result({"sub": sub, "status": "blocked"}, f"{user} is shut out, on every node", as_json=as_json)

    asyncio.run(run_command())


def unblock_user(settings: Settings, user: str, *, as_json: bool) -> None:
    """Let a user log in again."""

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            sub = await sub_of(operators, user)
            if not await operators.unblock(sub, audit_actor(), command_origin()):
                raise NotFoundError(f"there is no user {quoted(user)}")
        show_result({"sub": sub, "status": "active"}, f"{user} may log in again", as_json=as_json)

    asyncio.run(run_command())


def grant_role(settings: Settings, user: str, role: str, *, as_json: bool) -> None:
    """Give a user a role."""

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            sub = await sub_of(operators, user)
            roles = _describe_roles(
                await operators.grant_role(sub, role, audit_actor(), command_origin()), role, settings
            )
        text = f"{user} is now: {' '.join(roles)}; tokens tell of it from the next login or refresh on"
        show_result({"sub": sub, "roles": list(roles)}, text, as_json=as_json)

    asyncio.run(run_command())


def revoke_role(settings: Settings, user: str, role: str, *, as_json: bool) -> None:
    """Take a role from a user, at once: every session and token of the user ends."""

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            sub = await sub_of(operators, user)
            roles = _describe_roles(
                await operators.revoke_role(sub, role, audit_actor(), command_origin()), role, settings
            )
        text = f"{user} is now: {' '.join(roles)}; every session has ended, on every node"
        show_result({"sub": sub, "roles": list(roles)}, text, as_json=as_json)

    asyncio.run(run_command())


def _describe_roles(outcome: tuple[str, ...] | Refusal, role: str, settings: Settings) -> tuple[str, ...]:
    """The roles of a user after a change.

    Raises:
        LockgateError: the change was refused. For an unknown role the text has the roles of the configuration.
    """
    if isinstance(outcome, Refusal):
        hint = _suggest_role(role, settings) if outcome.reason is Reason.ROLE_UNKNOWN else ""
        raise LockgateError(f"{outcome.reason.response.title.lower()}: {quoted(role)}{hint}")
    return outcome


def _suggest_role(role: str, settings: Settings) -> str:
    near = find_near(role, settings.roles)
    hint = f"; did you mean {near}?" if near else ""
    return f"; [roles] has {', '.join(sorted(settings.roles)) or 'none'}{hint}"
