"""The app factory: what every service answers the same way, around the routes that are its own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lockgate_shop.kit.clock import Clock
from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.data.migrations import Schema, migrate_database
from lockgate_shop.kit.http import openapi
from lockgate_shop.kit.http.body import BodyGate
from lockgate_shop.kit.http.direct import DirectCalls
from lockgate_shop.kit.http.envelope import Envelope, refusal_response, request_id_of
from lockgate_shop.kit.http.head import HeadAsGet
from lockgate_shop.kit.http.links import OPEN_PATHS, LinkGate, LinkTable
from lockgate_shop.kit.http.problems import ANY_PROBLEM, BY_STATUS, RefusedError, field_errors, problem_response
from lockgate_shop.kit.problem import INTERNAL, INVALID_FIELDS, Problem
from lockgate_trust import LEEWAY_S, IdentityMiddleware, LinkKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a service is made of.

    Attributes:
        schema: its tables; also tells its name.
        database: opened (and brought up to date) when the app starts, closed when it stops.
        routers: its routes.
        direct: the endpoints of those that are served without the framework; see `DirectCalls`.
        links: the origins that may call each route. Each route must be covered.
        state: what its dependencies find on `app.state`.
        draining: told, in this order, that the process is to stop: what would go on for ever ends now.
        closing: what to close when the app stops, in this order, before the database.
    """

    schema: Schema
    database: Database
    routers: Sequence[APIRouter]
    links: LinkTable
    state: dict[str, object]
    direct: Sequence[Callable[..., Any]] = ()
    draining: Sequence[Callable[[], None]] = ()
    closing: Sequence[Callable[[], Awaitable[None]]] = ()


def create_service(parts: Parts, *, keys: LinkKeys, clock: Clock, leeway_s: float = LEEWAY_S) -> FastAPI:
    """A service as an ASGI app; its lifespan migrates the database.

    From the outside in: the signature; one answer and one log line for each request; the link table; the body; HEAD
    as GET; and only then the routes, those without the framework first.

    Args:
        parts: what it is made of.
        keys: the link keys of this service.
        clock: the clock that tokens and signatures are judged by.
        leeway_s: by how much the clocks of its callers may differ from that.

    Raises:
        RuntimeError: a route is in no rule of the link table.
    """
    app = FastAPI(
        title=f"Lockgate {parts.schema.service}",
        lifespan=_service_lifespan(parts),
        redirect_slashes=False,
        openapi_url=None,
        generate_unique_id_function=openapi.operation_id,
        responses=ANY_PROBLEM,
        # Its log records of refused input hold the input.
        telemetry={"logs": False},
        exception_handlers={
            RefusedError: _respond_to_refusal,
            RequestValidationError: _respond_to_invalid,
            HTTPException: _respond_to_framework,
        },
    )
    app.state.database = parts.database
    app.state.draining = parts.draining
    for name, value in parts.state.items():
        setattr(app.state, name, value)
    routers = [*parts.routers, openapi.router]
    links = LinkTable({**parts.links.rules, openapi.PATH: openapi.READERS})
    for router in routers:
        app.include_router(router)
    app.include_router(_health_router(parts.database, keys))
    _check_covered(routers, links)
    # The last one added is the outermost.
    app.add_middleware(DirectCalls, routers=parts.routers, endpoints=parts.direct)
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyGate)
    app.add_middleware(LinkGate, table=links)
    app.add_middleware(Envelope)
    app.add_middleware(IdentityMiddleware, keys=keys, clock=clock, open_paths=OPEN_PATHS, leeway_s=leeway_s)
    return app


def _service_lifespan(parts: Parts) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await migrate_database(parts.database, parts.schema)
            yield
        finally:
            for close in (*parts.closing, parts.database.close):
                await close()

    return lifespan


def _health_router(database: Database, keys: LinkKeys) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def report_alive() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def report_ready() -> dict[str, str]:
        await database.check_connection()
        # The reason stands in the log: it names files, and every client may call this.
        warning = {"keys": "warning: they cannot be reloaded, the last good ones are in use"} if keys.problem else {}
        return {"status": "ready", "database": "ok", **warning}

    return router


def _check_covered(routers: Sequence[APIRouter], links: LinkTable) -> None:
    for route in (route for router in routers for route in router.routes):
        if not isinstance(route, (APIRoute, APIWebSocketRoute)) or not links.covers_path(route.path):
            raise RuntimeError(f"no rule says who may call {getattr(route, 'path', route)}")


async def _respond_to_refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError) or request.scope["type"] == "websocket":
        raise error  # a handshake is refused by the envelope
    return refusal_response(request.scope, error)


async def _respond_to_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return problem_response(
        INVALID_FIELDS,
        request_id=request_id_of(request.scope),
        members={"errors": field_errors(error.errors())},
    )


async def _respond_to_framework(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    problem: Problem = BY_STATUS.get(error.status_code, INTERNAL)
    headers = dict(error.headers or {})
    if "GET" in headers.get("Allow", "").split(", "):
        headers["Allow"] += ", HEAD"
    return problem_response(problem, request_id=request_id_of(request.scope), headers=headers)
