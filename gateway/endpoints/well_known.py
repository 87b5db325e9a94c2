"""`/.well-known`: the public keys, for whoever wants to verify access tokens without asking."""

from __future__ import annotations

import hashlib
import json

from fastapi import APIRouter, Request, Response

from gateway.identity.jwks import jwks
from gateway.identity.keyring import KeyRing

MAX_AGE_S = 60
"""Shorter than the time a new key is published before it signs, so that nobody meets a key they have not heard of."""


def router(ring: KeyRing) -> APIRouter:
    """The calls of `/.well-known`."""
    api = APIRouter(prefix="/.well-known", tags=["keys"])
    body = json.dumps(jwks(ring)).encode("ascii")
    headers = {
        "Cache-Control": f"public, max-age={MAX_AGE_S}",
        "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Allow-Origin": "*",
    }

    @api.api_route("/jwks.json", methods=["GET", "HEAD"])
    async def keys(request: Request) -> Response:
        """The JWK Set (RFC 7517 section 5)."""
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/jwk-set+json", headers=headers)

    return api
