"""Calls without the framework, for the few that every login and every refresh makes.

A route of the framework stays the one definition of a call: of its path, its method, its body and its response. A
direct call reads the definition once, at the start, and serves requests that keep to it. It hands all others to the
framework, which says what is wrong with them. So there is one wording of each refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.convertors import StringConvertor
from starlette.requests import Request

from lockgate_shop.kit.http.body import PARSED_BODY
from lockgate_shop.kit.http.envelope import refusal_response
from lockgate_shop.kit.http.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fastapi import APIRouter
    from fastapi._compat import ModelField
    from starlette.types import ASGIApp, Receive, Scope, Send

_OK: Final = 200
_JSON: Final = (b"content-type", b"application/json")


class DirectCalls:
    """ASGI middleware right around the routes: serves some of them without the framework.

    Args:
        app: the routes.
        routers: where those of `endpoints` are.
        endpoints: asynchronous functions of routes. Such a route takes segments of its path as texts, a model as its
            body, and dependencies that take the request alone; and it responds with 200 and a model.

    Raises:
        RuntimeError: a route says anything else, shares requests with a route before it, or does not exist.
    """

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter], endpoints: Iterable[Callable[..., Any]]) -> None:
        self._app = app
        routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        self._calls: Final = tuple(_DirectCall(_find_route(routes, endpoint)) for endpoint in endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or let the framework do so."""
        if scope["type"] == "http":
            for call in self._calls:
                values = call.read_values(scope)
                if values is not None:
                    await call.respond(values, scope, receive, send)
                    return
        await self._app(scope, receive, send)


class _DirectCall:
    def __init__(self, route: APIRoute) -> None:
        self._endpoint = route.endpoint
        self._route = route
        self._methods = route.methods or set()
        self._match_path = route.path_regex.fullmatch
        self._bodies = [(body.name, _model_of(body)) for body in route.dependant.body_params]
        self._dependencies: list[Any] = [
            (below.name, below.call, below.request_param_name) for below in route.dependant.dependencies
        ]

    def read_values(self, scope: Scope) -> dict[str, Any] | None:
        """What the endpoint is given, but for its dependencies; None for a request that the framework has to judge."""
        if scope["method"] not in self._methods or (match := self._match_path(scope["path"])) is None:
            return None
        values = match.groupdict()
        try:
            for name, model in self._bodies:
                values[name] = model.model_validate(scope.get(PARSED_BODY))
        except ValidationError:
            return None
        return values

    async def respond(self, values: dict[str, Any], scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint, and send what it returns."""
        scope["route"] = self._route  # for the log
        try:
            for name, find, request_name in self._dependencies:
                values[name] = await find(**{request_name: Request(scope)})
            outcome: BaseModel = await self._endpoint(**values)
        except RefusedError as error:
            await refusal_response(scope, error)(scope, receive, send)
            return
        content = outcome.model_dump_json().encode()
        headers = [(b"content-length", b"%d" % len(content)), _JSON]
        await send({"type": "http.response.start", "status": _OK, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})


def _find_route(routes: Sequence[APIRoute], endpoint: Callable[..., Any]) -> APIRoute:
    """The route of an endpoint, if it is one that can be served directly."""
    before: list[APIRoute] = []
    for route in routes:
        if route.endpoint is endpoint:
            if _takes_little(route) and _gives_a_model(route) and not any(_overlap(route, other) for other in before):
                return route
            break
        before.append(route)
    raise RuntimeError(f"{endpoint.__name__} has no route that can be served directly")


def _takes_little(route: APIRoute) -> bool:
    needs = route.dependant
    return (
        not (needs.query_params or needs.header_params or needs.cookie_params or route.dependencies)
        and all(type(convertor) is StringConvertor for convertor in route.param_convertors.values())
        and all(parameter.field_info.annotation is str for parameter in needs.path_params)
        and all(below.request_param_name and not below.dependencies for below in needs.dependencies)
        and len(needs.body_params) <= 1
        and all(_is_model(body.field_info.annotation) for body in needs.body_params)
    )


def _gives_a_model(route: APIRoute) -> bool:
    narrowed = (
        route.response_model_include,
        route.response_model_exclude,
        route.response_model_exclude_unset,
        route.response_model_exclude_defaults,
        route.response_model_exclude_none,
    )
    return (
        route.status_code in {None, _OK}
        and not any(narrowed)
        and all(_is_model(kind) for kind in get_args(route.response_model) or (route.response_model,))
    )


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _overlap(one: APIRoute, other: APIRoute) -> bool:
    """Whether some request fits both."""
    same_method = not (one.methods or set()).isdisjoint(other.methods or set())
    return same_method and bool(one.path_regex.fullmatch(other.path) or other.path_regex.fullmatch(one.path))


def _model_of(body: ModelField) -> type[BaseModel]:
    model: type[BaseModel] = body.field_info.annotation  # type: ignore[assignment] # judged by `_takes_little`
    return model
