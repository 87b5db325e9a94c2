"""People with devices, and the nodes they talk to: the verbs of stories.

A verb that says what happens (`logs_in`) fails where it does not; one that `tries_to` returns the response.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import httpx
from websockets.asyncio.client import connect

from lockgate.errors import Reason
from tests.support import node as nodes
from tests.support.raw import WITHIN_S

PASSWORD: Final = "correct-horse-battery"
SOCKETS: Final = "/live"
"""Where a WebSocket may be opened."""


class Pair(NamedTuple):
    """The tokens of a login or refresh."""

    access: str
    refresh: str


NOTHING: Final = Pair("", "")


@dataclass(eq=False)
class Place:
    """One node, and a way to it.

    Attributes:
        made_of: a `nodes.Node` in this event loop, or a `nodes.Process`.
    """

    made_of: nodes.Node | nodes.Process
    http: httpx.AsyncClient

    def clock_jumps(self, seconds: float) -> None:
        """Set this node's clock alone."""
        assert isinstance(self.made_of, nodes.Node)
        self.made_of.tick(seconds)


@dataclass(eq=False)
class Person:
    """A user at one device.

    Attributes:
        sub, name: of the account.
        seen_from_outside: the state that a refused request must not change: all stored data of a user, and the number
            of requests that have reached the service.
        pair: the tokens that the device would use now.
        sid: of its session.
        past: the tokens it has used before, oldest first.
    """

    name: str
    sub: str
    seen_from_outside: Callable[[Person], Awaitable[object]]
    password: str = PASSWORD
    pair: Pair = NOTHING
    sid: str = ""
    past: list[Pair] = field(default_factory=list)

    def on_another_device(self) -> Person:
        """The same person, not logged in there yet."""
        return Person(self.name, self.sub, self.seen_from_outside, self.password)

    def in_another_tab(self) -> Person:
        """The same session, in a tab that knows nothing of the next steps of the first. Or a thief with a copy."""
        return copy.copy(self)

    async def tries_to_log_in(self, *, on: Place) -> httpx.Response:
        return await on.http.post("/auth/login", json={"username": self.name, "password": self.password})

    async def tries_to_refresh(self, *, on: Place) -> httpx.Response:
        return await on.http.post("/auth/refresh", json={"refresh_token": self.pair.refresh})

    async def tries_to_revoke(self, *, on: Place) -> httpx.Response:
        """The access token."""
        return await on.http.post("/auth/revoke", json={"token": self.pair.access})

    async def tries_to_log_out(self, *, on: Place) -> httpx.Response:
        return await on.http.post("/auth/logout", headers=self.credentials)

    async def tries_to_log_out_everywhere(self, *, on: Place) -> httpx.Response:
        return await on.http.post("/auth/logout-all", headers=self.credentials)

    async def tries_to_change_password(self, new: str = "another-good-password", *, on: Place) -> httpx.Response:
        content = {"current_password": self.password, "new_password": new}
        return await on.http.post("/auth/password", json=content, headers=self.credentials)

    async def calls(self, *, on: Place) -> httpx.Response:
        """A request to the service."""
        return await on.http.get("/orders", headers=self.credentials)

    async def logs_in(self, *, on: Place) -> None:
        self.takes(await self.tries_to_log_in(on=on))

    async def refreshes(self, *, on: Place) -> None:
        """Go on with the session; it stays the same one."""
        sid = self.sid
        self.takes(await self.tries_to_refresh(on=on))
        assert self.sid == sid

    def answer_is_lost(self) -> None:
        """The node has carried out the request, but the response is lost: the device keeps its old tokens."""
        self.pair = self.past.pop()

    async def changes_password(self, new: str, *, on: Place) -> None:
        answer = await self.tries_to_change_password(new, on=on)
        assert answer.status_code == httpx.codes.NO_CONTENT, answer.text
        self.password = new

    async def blocks(self, whom: Person, *, on: Place) -> None:
        """For administrators."""
        answer = await on.http.post(f"/admin/users/{whom.name}/block", headers=self.credentials)
        assert answer.status_code == httpx.codes.NO_CONTENT, answer.text

    def opens_socket(self, *, on: Place) -> connect:
        """To the service; a context, or awaited."""
        url = f"ws://127.0.0.1:{on.made_of.port}{SOCKETS}"
        return connect(url, additional_headers=self.credentials, proxy=None, ping_interval=None, open_timeout=WITHIN_S)

    async def is_let_in(self, *, on: Place) -> None:
        """And taken for that user."""
        answer = await self.calls(on=on)
        assert answer.status_code == httpx.codes.OK, answer.text
        assert answer.json() == {"user": self.sub, "session": self.sid}

    async def is_refused(self, reason: Reason, *, on: Place) -> None:
        """Nothing reaches the service, and nothing that is stored about them changes."""
        before = await self.seen_from_outside(self)
        refused(await self.calls(on=on), reason)
        assert await self.seen_from_outside(self) == before

    @property
    def credentials(self) -> dict[str, str]:
        """The field that carries the access token."""
        return {"authorization": f"Bearer {self.pair.access}"}

    def takes(self, answer: httpx.Response) -> None:
        """Go on with the tokens of a login or refresh."""
        assert answer.status_code == httpx.codes.OK, answer.text
        content = answer.json()
        # A list of its own: a tab that was copied from this one goes its own way.
        self.past = [*self.past, self.pair] if self.sid else []
        self.pair, self.sid = Pair(content["access_token"], content["refresh_token"]), content["session_id"]


def refused(answer: httpx.Response, reason: Reason) -> None:
    """Check that the response is the one of this reason."""
    assert (answer.status_code, answer.json()["code"]) == (reason.status, reason.code), answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    if reason.status == httpx.codes.SERVICE_UNAVAILABLE:
        assert int(answer.headers["retry-after"]) >= 1
