"""`/.well-known`: the public keys, for services that verify access tokens themselves."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from lockgate.edge.responses import NO_SNIFFING
from lockgate.keys.current import Current
from lockgate.keys.jwks import jwks
from lockgate.keys.keyring import KeyRing

MAX_AGE_S: Final = 60

_MEDIA: Final = "application/jwk-set+json"
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The keys", "content": {_MEDIA: {"schema": {"type": "object", "required": ["keys"]}}}},
    304: {"description": "The keys are those that the client has"},
}


class PublishedKeys:
    """The key set as verifiers read it: every key that verifies, so also the key that will sign next.

    The set may be cached for at most half the time that a key is published before it signs, so that no verifier meets a
    key that it has not fetched.

    Args:
        publish_delay_s: how long a key is published before it signs.
    """

    def __init__(self, keys: Current[KeyRing], publish_delay_s: int) -> None:
        self._max_age_s = min(MAX_AGE_S, publish_delay_s // 2)
        self._keys = keys
        self._ring = keys.value
        self._body = _encode_ring(keys.value)

    @property
    def body(self) -> bytes:
        """The JWK Set of the keys in use."""
        if self._keys.value is not self._ring:
            self._ring = self._keys.value
            self._body = _encode_ring(self._ring)
        return self._body

    @property
    def etag(self) -> str:
        """A strong validator of the body (RFC 9110 section 8.8.3)."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    @property
    def headers(self) -> dict[str, str]:
        """The fields of every response, 304 included (RFC 9110 section 15.4.5)."""
        return {
            "Cache-Control": f"public, max-age={self._max_age_s}",
            "ETag": self.etag,
            **NO_SNIFFING,
            "Access-Control-Allow-Origin": "*",
        }

    def is_known(self, if_none_match: str) -> bool:
        """Whether a client that sends this `If-None-Match` has the key set as it is (RFC 9110 section 13.1.2)."""
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return self.etag in tags or tags == ["*"]


def build_router(published: PublishedKeys) -> APIRouter:
    """The calls of `/.well-known`."""
    api = APIRouter(prefix="/.well-known", tags=["keys"])

    @api.api_route("/jwks.json", methods=["GET", "HEAD"], response_class=Response, responses=_RESPONSES)
    async def keys(request: Request) -> Response:
        """The JWK Set (RFC 7517 section 5)."""
        if published.is_known(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=published.headers)
        return Response(published.body, media_type=_MEDIA, headers=published.headers)

    return api


def _encode_ring(ring: KeyRing) -> bytes:
    return json.dumps(jwks(ring)).encode("ascii")
