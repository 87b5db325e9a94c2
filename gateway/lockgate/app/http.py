"""What answers the gateway's own paths: a few calls by the edge itself, all others by a FastAPI application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, FastAPI

from lockgate.app.build import Auth, DataPath, Foundation
from lockgate.endpoints import (
    admin,
    auth,
    captcha,
    forward_auth,
    grants,
    health,
    login,
    metadata,
    oauth,
    openapi,
    problems,
    sessions,
    tickets,
    well_known,
)
from lockgate.endpoints.browser import Browser
from lockgate.endpoints.calls import EdgeCall, OwnCalls
from lockgate.endpoints.dependencies import Stage, current_keys, dependencies_of, store_of, within_allowance
from lockgate.identity.session_cookie import NAMES
from lockgate.pipeline import Pipeline
from lockgate.policy.route import Route
from lockgate.upstream.client import UpstreamClient
from lockgate.views import route_json


def make_own_calls(
    base: Foundation, auth_parts: Auth, path: DataPath, pipeline: Pipeline, checks: Mapping[str, health.Check]
) -> OwnCalls:
    """Put the calls together.

    Args:
        base: configuration, keys and stores.
        auth_parts: what is behind `/auth` and `/admin`.
        path: the data path, whose judge identifies callers.
        pipeline: judges what front proxies hold.
        checks: of `/readyz`, by name.
    """
    browser = Browser(auth_parts.cookies, base.rules)
    needs = (store_of(lambda: base.link.connected), current_keys(base.keys))
    calls = (health.ALIVE_CALL, *_build_edge_calls(auth_parts, browser, needs))

    def build_application() -> FastAPI:
        settings, judge = base.settings, path.judge
        app = FastAPI(title="Lockgate", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        problems.install_handlers(app)
        for router in _build_routers(base, auth_parts, path, browser):
            app.include_router(router, dependencies=dependencies_of(*needs))
        app.include_router(metadata.build_router(settings.token.issuer, settings.public_url, base.rules))
        app.include_router(tickets.build_router(auth_parts.tickets, judge, auth_parts.cookies))
        app.include_router(forward_auth.build_router(pipeline, base.rules))
        published = well_known.PublishedKeys(base.keys.ring, settings.keys.publish_delay_s)
        app.include_router(well_known.build_router(published))
        app.include_router(health.build_router(checks, lambda: base.rules.value.revision))
        cookie = NAMES[settings.server.session_cookie].decode("ascii")
        descriptions = openapi.Descriptions(base.rules, lambda: _build_clients(base, path), cookie)
        is_public = settings.server.openapi == "everybody"
        app.include_router(openapi.build_router(app, calls, descriptions, judge, is_public=is_public))
        return app

    return OwnCalls(calls, build_application)


def _build_clients(base: Foundation, path: DataPath) -> dict[str, UpstreamClient]:
    """A client of each service, over the connections of forwarded requests."""

    def build_client(route: Route) -> UpstreamClient:
        upstreams = [path.services.upstreams[url] for url in route.upstreams]
        return UpstreamClient(upstreams, lambda: base.keys.links.value.outbound(route.service), base.clock)

    routes = base.rules.value.routes.routes
    return {route.service: build_client(route) for route in routes if route.reply is None}


def _build_edge_calls(parts: Auth, browser: Browser, needs: tuple[Stage, ...]) -> tuple[EdgeCall, ...]:
    """The calls of `/auth` that the edge answers itself."""
    refreshing = (*needs, within_allowance(parts.refreshing))
    return (
        login.build_login(parts.sessions, parts.grants, browser, *needs),
        grants.build_refresh(parts.sessions, parts.grants, browser, *refreshing),
        grants.build_token(parts.sessions, parts.grants, *refreshing),
        grants.build_revoke(parts.sessions, parts.grants, *needs, within_allowance(parts.revoking)),
    )


def _build_routers(base: Foundation, parts: Auth, path: DataPath, browser: Browser) -> tuple[APIRouter, ...]:
    """The calls that are refused at once while Redis is known to be away.

    Tickets and forward-auth need Redis, too; the judge refuses them.
    """

    def routes_with_state() -> list[dict[str, Any]]:
        states = path.services.upstream_states()
        return [route_json(route, states) for route in base.rules.value.routes.routes]

    def grantable_scopes() -> frozenset[str]:
        return base.rules.value.settings.grantable_scopes

    desk = admin.AdminParts(
        parts.administration, parts.key_administration, parts.trail, routes_with_state, grantable_scopes
    )
    return (
        auth.build_router(parts.sessions, path.judge, browser),
        captcha.build_router(parts.captchas, parts.drawing),
        sessions.build_router(parts.own, path.judge),
        oauth.build_router(parts.grants),
        admin.build_router(desk, path.judge),
    )
