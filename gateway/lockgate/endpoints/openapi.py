"""`/openapi.json`: everything that can be called here, the gateway's own calls and those of the services behind it."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.calls import EdgeCall
from lockgate.endpoints.dependencies import ADMIN, call_origin_of, identity_of
from lockgate.judge import Judge
from lockgate.keys.current import Current
from lockgate.policy.route import Route
from lockgate.policy.routes import RouteTable
from lockgate.policy.rules import Rules
from lockgate.upstream.client import UpstreamCall, UpstreamClient, UpstreamFailedError

PATH: Final = "/openapi.json"
SERVICE_PATH: Final = "/internal/openapi.json"
WITHIN_S: Final = 3
_BEARER: Final = "bearer"
_SESSION: Final = "session"
_REF: Final = "#/components/schemas/"

Document = dict[str, Any]


class Descriptions:
    """The description of each service, fetched when a client asks for it.

    Args:
        rules: name the paths and methods that clients may call.
        build_clients: returns what calls each service, by its name.
        cookie: the name of the session cookie; empty where cookies are off.
    """

    def __init__(
        self, rules: Current[Rules], build_clients: Callable[[], Mapping[str, UpstreamClient]], cookie: str = ""
    ) -> None:
        self._rules = rules
        self._build_clients = build_clients
        self._cookie = cookie

    async def merged_document(self, own: Document, request_id: str) -> Document:
        """The gateway's own document and those of its services; services that do not respond are in `x-unavailable`."""
        routes, clients = self._rules.value.routes, self._build_clients()
        asked = [_fetch_document(client, request_id) for client in clients.values()]
        documents = dict(zip(clients, await asyncio.gather(*asked), strict=True))
        found = {service: document for service, document in documents.items() if document is not None}
        return merge_documents(own, found, routes, self._cookie) | {
            "x-unavailable": sorted(documents.keys() - found.keys())
        }


def merge_documents(own: Document, services: Mapping[str, Document], routes: RouteTable, cookie: str = "") -> Document:
    """One document out of many: of each service what the route table lets through, with its demands.

    Names of schemas and operations get the service's name in front, so that two services may use the same.
    """
    schemes: Document = {_BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    if cookie:
        schemes[_SESSION] = {"type": "apiKey", "in": "cookie", "name": cookie}
    paths, schemas = dict(own.get("paths", {})), dict(own.get("components", {}).get("schemas", {}))
    for service, document in services.items():
        described = _rename_schemas(document, f"{service}.")
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                found = routes.find_service_call(service, path, method.upper())
                if found is not None:
                    asked, route = found
                    described_here = _describe_operation(operation, service, method.upper(), route, schemes)
                    paths[asked] = {**paths.get(asked, {}), method: described_here}
        named = described.get("components", {}).get("schemas", {})
        schemas |= {f"{service}.{name}": schema for name, schema in named.items()}
    return {**own, "paths": paths, "components": {"schemas": schemas, "securitySchemes": schemes}}


def build_router(
    app: FastAPI, calls: Sequence[EdgeCall], descriptions: Descriptions, judge: Judge, *, is_public: bool
) -> APIRouter:
    """The call `GET /openapi.json`, for administrators, or for all where `is_public` (a developer's machine).

    Args:
        app: describes the calls that it answers.
        calls: that the edge answers itself.
        descriptions: of the services.
        judge: identifies administrators.
        is_public: whether any client may read the document.
    """
    api = APIRouter()
    readers = [] if is_public else [Depends(identity_of(judge, ADMIN))]

    @api.get(PATH, include_in_schema=False, dependencies=readers)
    async def describe(request: Request) -> Response:
        """The document, as OpenAPI 3.1."""
        merged = await descriptions.merged_document(_own_document(app, calls), call_origin_of(request).request_id)
        return JSONResponse(merged, headers=SECURITY_HEADERS)

    return api


async def _fetch_document(client: UpstreamClient, request_id: str) -> Document | None:
    try:
        response = await client.send(UpstreamCall("GET", SERVICE_PATH, request_id), timeout_s=WITHIN_S)
        document = json.loads(response.body) if response.status == HTTPStatus.OK else None
    except (UpstreamFailedError, ValueError, RecursionError):
        return None
    # A service of another make may describe itself in another way, or not at all.
    return document if isinstance(document, dict) and isinstance(document.get("paths"), dict) else None


def _own_document(app: FastAPI, calls: Sequence[EdgeCall]) -> Document:
    with warnings.catch_warnings():
        # Where one function answers GET and HEAD, both would have its name.
        warnings.filterwarnings("ignore", "Duplicate Operation ID")
        document = app.openapi()
    # HEAD is GET without the content (RFC 9110 section 9.3.2), and needs no words of its own.
    paths = {
        path: {method: operation for method, operation in operations.items() if method != "head"}
        for path, operations in document["paths"].items()
    }
    return {**document, "paths": paths | {call.path: call.described for call in calls}}


def _describe_operation(
    operation: Document, service: str, method: str, route: Route, schemes: Iterable[str]
) -> Document:
    scopes = sorted(route.demands[method].scopes)
    needs_identity = route.auth == "required" or bool(scopes)
    anonymous: list[Document] = [] if needs_identity else [{}]
    identified: list[Document] = [] if route.auth == "public" else [{scheme: scopes} for scheme in schemes]
    name = f"{service}_{operation.get('operationId', method.lower())}"
    return {**operation, "operationId": name, "tags": [service], "security": [*anonymous, *identified]}


def _rename_schemas(node: Any, prefix: str) -> Any:  # noqa: ANN401 - a JSON value
    """The same JSON, with every reference to a schema leading to its new name."""
    if isinstance(node, dict):
        return {
            key: f"{_REF}{prefix}{value.removeprefix(_REF)}"
            if key == "$ref" and isinstance(value, str) and value.startswith(_REF)
            else _rename_schemas(value, prefix)
            for key, value in node.items()
        }
    return [_rename_schemas(item, prefix) for item in node] if isinstance(node, list) else node
