"""`/healthz`: the process answers; `/readyz`: its dependencies can be used; `OPTIONS *`: the methods of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.errors import LockgateError
from lockgate.policy.routes import KNOWN_METHODS

Check = Callable[[], Awaitable[str | None]]
"""Returns when a dependency can be used, perhaps with a warning that any client may read; raises a `LockgateError` that
says what is wrong with it, in words that any client may read."""
ALIVE = "/healthz"
WARNING = "warning: "
CAPABILITIES = Response(status_code=204, headers={"Allow": ", ".join(sorted(KNOWN_METHODS)), **SECURITY_HEADERS})
"""The response to OPTIONS for the whole server (RFC 9110 section 9.3.7); it is the same for every client."""


def build_router(checks: Mapping[str, Check]) -> APIRouter:
    """The health calls; `checks` by the name of the dependency."""
    api = APIRouter(tags=["health"])

    # HAProxy's `option httpchk /readyz` asks with OPTIONS.
    @api.api_route(ALIVE, methods=["OPTIONS"], include_in_schema=False)
    @api.api_route(ALIVE, methods=["GET", "HEAD"])
    async def alive() -> Response:
        """The process answers."""
        return JSONResponse({"status": "alive"}, headers=SECURITY_HEADERS)

    @api.api_route("/readyz", methods=["OPTIONS"], include_in_schema=False)
    @api.api_route("/readyz", methods=["GET", "HEAD"])
    async def ready() -> Response:
        """Every dependency can be used; otherwise 503, with a line for each."""
        lines = {name: await _describe_check(check) for name, check in checks.items()}
        well = all(line == "ok" or line.startswith(WARNING) for line in lines.values())
        content = {"status": "ready" if well else "not ready", "checks": lines}
        return JSONResponse(content, status_code=200 if well else 503, headers=SECURITY_HEADERS)

    return api


async def _describe_check(check: Check) -> str:
    try:
        warning = await check()
    except LockgateError as error:
        return str(error)
    return f"{WARNING}{warning}" if warning else "ok"
