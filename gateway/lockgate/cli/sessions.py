"""`lockgate sessions`: list sessions, and end them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from lockgate.cli.operating import NotFoundError, call, opened, show, sub_of
from lockgate.cli.table import table
from lockgate.cli.trail import actor
from lockgate.errors import quoted
from lockgate.views import session_json

if TYPE_CHECKING:
    from lockgate.sessions.overview import SessionView
    from lockgate.settings import Settings

_HEADINGS: Final = ("SESSION", "LAST USED", "CLIENT", "ADDRESS", "AGENT")


def show_all(settings: Settings, user: str, *, as_json: bool) -> None:
    """List a user's live sessions."""

    async def run() -> None:
        async with opened(settings) as operators:
            sub = await sub_of(operators, user)
            found = await operators.sessions(sub)
        lines = table(_HEADINGS, [_row(view) for view in found]) if found else [f"{user} is not logged in"]
        show({"sub": sub, "sessions": [session_json(view) for view in found]}, "\n".join(lines), as_json=as_json)

    asyncio.run(run())


def end(settings: Settings, user: str, sid: str | None, *, as_json: bool) -> None:
    """End one of a user's sessions, or everything they have."""

    async def run() -> None:
        async with opened(settings) as operators:
            sub = await sub_of(operators, user)
            if sid is None:
                await operators.end_sessions(sub, actor(), call())
            elif not await operators.end_session(sub, sid, actor(), call()):
                raise NotFoundError(f"{user} has no session {quoted(sid)}")
        what = "every session" if sid is None else f"session {sid}"
        show({"sub": sub, "ended": sid or "all"}, f"{what} of {user} has ended, on every node", as_json=as_json)

    asyncio.run(run())


def _row(view: SessionView) -> tuple[str, ...]:
    used = datetime.fromtimestamp(view.last_used, UTC).isoformat(sep=" ", timespec="seconds")
    # What a client said of itself: control characters have no business on a terminal.
    agent = "".join(character if character.isprintable() else "?" for character in view.agent)
    return view.session_id, used, view.client_id, view.address, agent
