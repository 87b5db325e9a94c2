"""`lockgate sessions`: list sessions, and end them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from lockgate.cli.operating import NotFoundError, command_origin, open_administration, show_result, sub_of
from lockgate.cli.table import format_table
from lockgate.cli.trail import audit_actor
from lockgate.errors import quoted
from lockgate.views import session_json

if TYPE_CHECKING:
    from lockgate.sessions.overview import SessionView
    from lockgate.settings import Settings

_HEADINGS: Final = ("SESSION", "LAST USED", "CLIENT", "ADDRESS", "AGENT")


def list_sessions(settings: Settings, user: str, *, as_json: bool) -> None:
    """List a user's live sessions."""

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            sub = await sub_of(operators, user)
            found = await operators.sessions(sub)
        lines = (
            format_table(_HEADINGS, [_session_row(view) for view in found]) if found else [f"{user} is not logged in"]
        )
        show_result({"sub": sub, "sessions": [session_json(view) for view in found]}, "\n".join(lines), as_json=as_json)

    asyncio.run(run_command())


def end_sessions(settings: Settings, user: str, sid: str | None, *, as_json: bool) -> None:
    """End one of a user's sessions, or every session and token of the user."""

    async def run_command() -> None:
        async with open_administration(settings) as operators:
            sub = await sub_of(operators, user)
            if sid is None:
                await operators.end_sessions(sub, audit_actor(), command_origin())
            elif not await operators.end_session(sub, sid, audit_actor(), command_origin()):
                raise NotFoundError(f"{user} has no session {quoted(sid)}")
        what = "every session" if sid is None else f"session {sid}"
        show_result({"sub": sub, "ended": sid or "all"}, f"{what} of {user} has ended, on every node", as_json=as_json)

    asyncio.run(run_command())


def _session_row(view: SessionView) -> tuple[str, ...]:
    used = datetime.fromtimestamp(view.last_used, UTC).isoformat(sep=" ", timespec="seconds")
    # The client chose this text: control characters in it must not reach the terminal.
    agent = "".join(character if character.isprintable() else "?" for character in view.agent)
    return view.session_id, used, view.client_id, view.address, agent
