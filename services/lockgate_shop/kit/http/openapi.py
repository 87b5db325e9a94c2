"""What a service can do, as an OpenAPI document; for the gateway, which publishes it."""

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute

PATH: Final = "/internal/openapi.json"
READERS: Final = frozenset({"gateway"})

router: Final = APIRouter(include_in_schema=False)


def operation_id(route: APIRoute) -> str:
    """The name of an operation in the document: that of its function, which is unique in a service."""
    return route.name


@router.get(PATH)
async def describe_service(request: Request) -> dict[str, Any]:
    """The document, as OpenAPI 3.1."""
    document: dict[str, Any] = request.app.openapi()
    return document
