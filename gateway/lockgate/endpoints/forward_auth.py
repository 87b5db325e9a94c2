"""`/auth/verify`: may this request pass? Asked by a front proxy that forwards requests itself.

The response is 200 with the signed identity headers for the route's service, bound to the method and target of the
question; or the same refusal that the request itself would have got here. The target has to be in canonical spelling,
because the proxy forwards its own bytes. Both common pairs of header names are understood; where both pairs are
present, their values must agree.

**Everything but the body is signed.** A front proxy asks without sending the body. The gateway does not ask proxies to
send it: not every proxy can, and the body would be read twice. Services refuse a short body that the signature does
not cover, so the signature says `unseen`, and a service behind forward-auth sets `short_bodies_covered=False`
(`lockgate_trust.IdentityMiddleware`), in code, where a reviewer sees it. A service without that setting refuses a body
of any length. An attacker that can write to the network between proxy and service could exchange a body; the guide
says so. Method, path, query, identity, service and time stay covered, and a signature stays good for one use.
"""

from __future__ import annotations

from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from lockgate.edge.path import parse_target
from lockgate.edge.request import InboundRequest
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.edge.wire import WireError, is_token
from lockgate.endpoints.problems import RefusedError, inbound_request
from lockgate.errors import Reason, Refusal
from lockgate.keys.current import Current
from lockgate.pipeline import Pipeline
from lockgate.policy.rules import Rules

METHOD_FIELDS = (b"x-forwarded-method", b"x-original-method")
TARGET_FIELDS = (b"x-forwarded-uri", b"x-original-uri")
ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""Most proxies ask with GET; Envoy asks with the method of the request it holds, and its path behind ours."""


class HeldRequest(NamedTuple):
    """A request that a front proxy holds.

    Attributes:
        request: as the gateway judges it.
        path: as the proxy will send it; an equivalent spelling of the canonical path.
    """

    request: InboundRequest
    path: str


def build_router(pipeline: Pipeline, rules: Current[Rules]) -> APIRouter:
    """The call for front proxies; the bound on the request target is the same as for a forwarded request."""
    api = APIRouter(prefix="/auth", tags=["forward-auth"])

    @api.api_route("/verify", methods=ANY_METHOD)
    @api.api_route("/verify/{_held:path}", methods=ANY_METHOD, include_in_schema=False)
    async def verify(request: Request) -> Response:
        """Judge the request that the proxy holds."""
        held = held_request(inbound_request(request), rules.value.settings.limits.target_bytes)
        fields = held if isinstance(held, Refusal) else await pipeline.sign_for_proxy(held.request, held.path)
        if isinstance(fields, Refusal):
            raise RefusedError(fields)
        response = Response(status_code=200, headers=SECURITY_HEADERS)
        response.raw_headers.extend(fields)
        return response

    return api


def held_request(asking: InboundRequest, max_target_bytes: int) -> HeldRequest | Refusal:
    """The request that a front proxy holds, read from the header fields that describe it.

    Only a trusted proxy is believed. Both spellings of a field may be present when their values agree: a client could
    have added the field that the proxy does not set.
    """
    if not asking.trusted_peer:
        return Refusal(Reason.PROXY_UNTRUSTED)
    method, target = _read_agreed(asking, METHOD_FIELDS), _read_agreed(asking, TARGET_FIELDS)
    if method is None or target is None or not is_token(method):
        return Refusal(Reason.MALFORMED_HEADER)
    if len(target) > max_target_bytes:
        return Refusal(Reason.TARGET_TOO_LONG)
    try:
        path, query, authority = parse_target(target)
    except WireError as error:
        return Refusal(error.reason)
    if authority is not None or b"//" in target.partition(b"?")[0]:
        # The proxy will send the target in its own spelling. Equivalent spellings of a path are judged alike (RFC 3986
        # section 6.2.2), but a service behind the proxy would see an empty segment where none was judged.
        return Refusal(Reason.BAD_TARGET)
    request = asking._replace(method=method.decode("ascii"), path=path, query=query)
    return HeldRequest(request, target.partition(b"?")[0].decode("ascii"))


def _read_agreed(asking: InboundRequest, names: tuple[bytes, ...]) -> bytes | None:
    values = [value for name in names for value in asking.headers.values_of(name)]
    return values[0] if len(set(values)) == 1 and len(values) <= len(names) else None
