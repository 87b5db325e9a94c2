"""The authorization server's metadata (RFC 8414), so that client libraries find their way from the issuer alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from lockgate.edge.responses import NO_SNIFFING
from lockgate.keys.current import Current
from lockgate.policy.rules import Rules

WELL_KNOWN: Final = "/.well-known/oauth-authorization-server"
MAX_AGE_S: Final = 300


def build_metadata(issuer: str, public_url: str, scopes: Iterable[str]) -> dict[str, Any]:
    """The metadata of an issuer.

    Args:
        issuer: its identifier, a URL.
        public_url: the base of its endpoints, without a slash at the end.
        scopes: every scope that a role or client can be granted.
    """
    methods = ["client_secret_basic", "client_secret_post"]
    return {
        "issuer": issuer,
        "token_endpoint": f"{public_url}/auth/token",
        "jwks_uri": f"{public_url}/.well-known/jwks.json",
        "revocation_endpoint": f"{public_url}/auth/revoke",
        "introspection_endpoint": f"{public_url}/auth/introspect",
        "scopes_supported": sorted(set(scopes)),
        # Required by RFC 8414, and empty: there is no authorization endpoint.
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials", "refresh_token"],
        "token_endpoint_auth_methods_supported": [*methods, "none"],
        "revocation_endpoint_auth_methods_supported": [*methods, "none"],
        "introspection_endpoint_auth_methods_supported": methods,
    }


def build_router(issuer: str, public_url: str, rules: Current[Rules]) -> APIRouter:
    """The metadata call; for an issuer with a path also at the address that RFC 8414 section 3.1 gives it."""
    api = APIRouter(tags=["oauth"])
    headers = {
        "Cache-Control": f"public, max-age={MAX_AGE_S}",
        **NO_SNIFFING,
        "Access-Control-Allow-Origin": "*",
    }

    async def tell() -> Response:
        """The metadata."""
        content = build_metadata(issuer, public_url, rules.value.settings.grantable_scopes)
        return JSONResponse(content, headers=headers)

    for path in {WELL_KNOWN, WELL_KNOWN + urlsplit(issuer).path.rstrip("/")}:
        api.add_api_route(path, tell, methods=["GET", "HEAD"])
    return api
