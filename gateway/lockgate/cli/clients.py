"""`lockgate clients`: OAuth clients that have a secret."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lockgate.accounts.clients import is_client_id
from lockgate.cli.operating import NotFoundError, command_origin, open_administration, show_result
from lockgate.cli.table import format_table
from lockgate.cli.trail import audit_actor
from lockgate.errors import ConfigurationError, LockgateError, quoted
from lockgate.views import client_json

if TYPE_CHECKING:
    from collections.abc import Collection

    from lockgate.settings import Settings


def add_client(settings: Settings, client_id: str, scopes: Collection[str], *, as_json: bool) -> None:
    """Register a client, and show its secret this once."""
    if not is_client_id(client_id):
        raise ConfigurationError("a client's name is 4 to 64 lower-case letters, digits and hyphens, a letter first")
    unknown = set(scopes) - settings.grantable_scopes
    if unknown:
        raise ConfigurationError(f"no role grants the scope {quoted(min(unknown))}")

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            added = await operators.add_client(client_id, scopes, audit_actor(), command_origin())
        if added is None:
            raise LockgateError(f"there is a client {quoted(client_id)} already")
        client, secret = added
        text = (
            f"client_id      {client_id}\nclient_secret  {secret}\nIt is shown this once; what is kept is a hash of it."
        )
        show_result({**client_json(client), "client_secret": secret}, text, as_json=as_json)

    asyncio.run(run_command())


def list_clients(settings: Settings, *, as_json: bool) -> None:
    """List the clients; never a secret."""

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            found = [client_json(client) for client in await operators.clients()]
        lines = format_table(("CLIENT", "SCOPES"), [(one["client_id"], " ".join(one["scopes"])) for one in found])
        show_result({"clients": found}, "\n".join(lines) if found else "there are no clients", as_json=as_json)

    asyncio.run(run_command())


def remove_client(settings: Settings, client_id: str, *, as_json: bool) -> None:
    """Remove a client; its tokens die at once."""

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            removed = await operators.remove_client(client_id, audit_actor(), command_origin())
        if not removed:
            raise NotFoundError(f"there is no client {quoted(client_id)}")
        show_result(
            {"client_id": client_id, "removed": True}, f"{client_id} is gone, and its tokens with it", as_json=as_json
        )

    asyncio.run(run_command())
