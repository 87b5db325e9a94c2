"""`/healthz`: the process answers; `/readyz`: its dependencies can be used; `OPTIONS *`: the methods of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from lockgate.edge.own_call import OwnCall, Reply, field_lines
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.calls import EdgeCall
from lockgate.errors import LockgateError
from lockgate.policy.route import KNOWN_METHODS
from lockgate_common.problem import as_json

Check = Callable[[], Awaitable[str | None]]
"""Returns when a dependency can be used, perhaps with a warning that any client may read; raises a `LockgateError` that
says what is wrong with it, in words that any client may read."""
ALIVE = "/healthz"
WARNING = "warning: "
CAPABILITIES: Final = Reply(
    HTTPStatus.NO_CONTENT, field_lines([("Allow", ", ".join(sorted(KNOWN_METHODS))), *SECURITY_HEADERS.items()])
)
"""The response to OPTIONS for the whole server (RFC 9110 section 9.3.7); it is the same for every client."""
_ALIVE: Final = Reply(
    HTTPStatus.OK,
    field_lines([*SECURITY_HEADERS.items(), ("Content-Type", "application/json")]),
    as_json({"status": "alive"}),
)


def describe_server(_: OwnCall) -> Reply:
    """The methods of the server."""
    return CAPABILITIES


def alive(_: OwnCall) -> Reply:
    """The process answers."""
    return _ALIVE


# HAProxy's `option httpchk` asks with OPTIONS.
ALIVE_CALL: Final = EdgeCall(ALIVE, ("GET", "HEAD", "OPTIONS"), alive, "health")


def build_router(checks: Mapping[str, Check], revision: Callable[[], str]) -> APIRouter:
    """The health call that looks at dependencies.

    Args:
        checks: by their names.
        revision: returns the revision of the rules in force.
    """
    api = APIRouter(tags=["health"])

    @api.api_route("/readyz", methods=["OPTIONS"], include_in_schema=False)
    @api.api_route("/readyz", methods=["GET", "HEAD"])
    async def ready() -> Response:
        """Every dependency can be used; otherwise 503, with a line for each."""
        lines = {name: await _describe_check(check) for name, check in checks.items()}
        well = all(line == "ok" or line.startswith(WARNING) for line in lines.values())
        content = {"status": "ready" if well else "not ready", "revision": revision(), "checks": lines}
        return JSONResponse(content, status_code=200 if well else 503, headers=SECURITY_HEADERS)

    return api


async def _describe_check(check: Check) -> str:
    try:
        warning = await check()
    except LockgateError as error:
        return str(error)
    return f"{WARNING}{warning}" if warning else "ok"
