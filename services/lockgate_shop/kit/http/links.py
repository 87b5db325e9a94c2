"""Which caller may call which part of a service, as a table; what is not in it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockgate_shop.kit.http.problems import RefusedError
from lockgate_shop.kit.problem import LINK_REFUSED, NOT_FOUND, Problem
from lockgate_trust import caller_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Served with or without a signature: probes have no keys."""


@dataclass(frozen=True, slots=True)
class LinkTable:
    """Path prefixes, each with the origins (`gateway`, or a service's name) that may call below it."""

    rules: Mapping[str, frozenset[str]]

    def find_refusal(self, path: str, origin: str) -> Problem | None:
        """Why `origin` may not call `path`; None if it may. The longest prefix of whole segments decides."""
        prefix = self._longest_prefix(path)
        if prefix is None:
            return NOT_FOUND
        return None if origin in self.rules[prefix] else LINK_REFUSED

    def covers_path(self, path: str) -> bool:
        """Whether some rule speaks of `path`."""
        return self._longest_prefix(path) is not None

    def _longest_prefix(self, path: str) -> str | None:
        fitting = [prefix for prefix in self.rules if path == prefix or path.startswith(f"{prefix}/")]
        return max(fitting, key=len, default=None)


class LinkGate:
    """ASGI middleware behind the check of the signature: the link table, before anything reads the request's body."""

    def __init__(self, app: ASGIApp, table: LinkTable) -> None:
        self._app = app
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass if the table says so."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        origin = caller_of(scope).service
        refusal = self._table.find_refusal(scope["path"], origin)
        if refusal is not None:
            raise RefusedError(refusal, note=f"origin {origin}")
        await self._app(scope, receive, send)
