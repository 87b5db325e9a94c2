"""A flood of logins holds up nobody but those who log in. R-122."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Final

from gateway.clock import SystemClock
from gateway.sessions.accounts import Accounts
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.raw import Wire
from tests.support.upstream import Script, Upstream
from trust import LinkKeys

CONNECTIONS: Final = 100
"""How many passwords the gateway lets wait at the users service at the same time."""
BEYOND: Final = 10
PATIENCE_S: Final = 60
ACCOUNT: Final = {
    "sub": "alice",
    "username": "alice",
    "roles": ["customer"],
    "status": "active",
    "password_changed_at": "2026-01-01T00:00:00Z",
}


class Users:
    """A users service that is at its hashes until it is told to end them; it answers everything else at once."""

    def __init__(self) -> None:
        self.hashed = asyncio.Event()
        self.full = asyncio.Event()
        self.waiting = 0

    def script(self) -> Script:
        async def serve(upstream: Upstream, wire: Wire) -> None:
            del upstream
            while True:
                with contextlib.suppress(TimeoutError):
                    request = await wire.message()
                    if "/internal/credentials/" in request.line:
                        self.waiting += 1
                        if self.waiting == CONNECTIONS:
                            self.full.set()
                        await self.hashed.wait()
                    body = json.dumps({**ACCOUNT, "valid": True, "account": ACCOUNT}).encode()
                    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        return serve


async def test_while_passwords_wait_for_their_hashes_accounts_are_still_read(tmp_path: Path) -> None:
    users = Users()
    async with upstreams.running(users.script()) as upstream:
        directory = nodes.settings(tmp_path, "redis://unused", upstream.url).keys.directory
        key = LinkKeys.load(directory / "links", "gateway").outbound("users")
        accounts = Accounts([upstream.url], key, timeout_s=PATIENCE_S, clock=SystemClock())
        flood = [
            asyncio.create_task(accounts.check_password("alice", "correct-horse-battery", f"r{number}"))
            for number in range(CONNECTIONS + BEYOND)
        ]
        await asyncio.wait_for(users.full.wait(), PATIENCE_S)
        found = await asyncio.wait_for(accounts.find("alice", "r"), PATIENCE_S / 2)
        assert found is not None
        assert found.sub == "alice"
        assert not any(login.done() for login in flood)
        users.hashed.set()
        assert {login.sub for login in await asyncio.gather(*flood) if login} == {"alice"}
        await accounts.close()
