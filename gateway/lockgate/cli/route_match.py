"""`lockgate routes match`: what would happen to a request, by the configuration alone."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import typer

from lockgate.edge.head import Peer, RequestHeadReader
from lockgate.edge.wire import WireError
from lockgate.errors import ConfigurationError, Refusal, quoted
from lockgate.policy.own_paths import is_options_probe
from lockgate.policy.routes import RouteTable, find_route

if TYPE_CHECKING:
    from lockgate.edge.own_call import Reply
    from lockgate.edge.request import InboundRequest
    from lockgate.errors import Reason
    from lockgate.policy.route import Route
    from lockgate.settings import Settings

_URL: Final = re.compile(r"(https?)://([^/?#]+)([/?][^#]*)?", re.IGNORECASE)
_NO_ADDRESS: Final = "unknown"

Facts = dict[str, Any]


def match_request(settings: Settings, method: str, url: str, client: str | None, *, as_json: bool) -> None:
    """Print the route of a request, or what else the gateway would do with it. No token is looked at.

    Args:
        settings: the configuration.
        method: as a client would send it.
        url: `http://host/path` or `https://host/path`.
        client: the address of the client; `None` for one that no rule about addresses lets in.
        as_json: for programs to read.

    Raises:
        ConfigurationError: the URL is none.
    """
    facts = _judge_request(settings, method, url, client)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        typer.echo(f"{name:{width}}  {', '.join(value) or '-' if isinstance(value, list) else value}")


def _judge_request(settings: Settings, method: str, url: str, client: str | None) -> Facts:
    match = _URL.fullmatch(url)
    if match is None:
        raise ConfigurationError(f"{quoted(url)} is no http:// or https:// URL with a host")
    scheme, host, target = match[1].lower(), match[2], match[3] or "/"
    target = target if target.startswith("/") else f"/{target}"
    reader = RequestHeadReader(settings.server, settings.limits)
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("utf-8", "surrogateescape")
    try:
        found = reader.parse_head(head[: reader.find_head_end(head)], Peer(client or _NO_ADDRESS, trusted=False))
    except WireError as error:
        return _describe_refusal(error.reason)
    request = found._replace(scheme=scheme)
    return {"host": request.host, "path": request.path, **_judge_parsed(settings, request)}


def _judge_parsed(settings: Settings, request: InboundRequest) -> Facts:
    table = RouteTable.from_settings(settings)
    to_https = None if table.https is None else table.https.respond_to(request)
    if isinstance(to_https, Refusal):
        return _describe_refusal(to_https.reason)
    if to_https is not None:
        return {"outcome": "redirect to https", **_describe_reply(to_https)}
    route = find_route(table, request)
    if not isinstance(route, Refusal):
        return _describe_route(route, request)
    if is_options_probe(request) or table.is_own(request.host, request.path):
        refused = table.refuse_own(request)
        return {"outcome": "call of the gateway itself"} if refused is None else _describe_refusal(refused.reason)
    return _describe_refusal(route.reason)


def _describe_route(route: Route, request: InboundRequest) -> Facts:
    if route.reply is not None:
        return {"outcome": "route", "route": route.name, **_describe_reply(route.reply.respond_to(request))}
    demand = route.demands[request.method]
    return {
        "outcome": "route",
        "route": route.name,
        "service": route.service,
        "upstreams": list(route.upstreams),
        "target": _find_target(route, request),
        "identity": route.auth,
        "scopes": sorted(demand.scopes),
    }


def _find_target(route: Route, request: InboundRequest) -> str:
    """The request target that the service gets."""
    sent = request if route.rewrite is None else request._replace(path=route.rewrite.rewrite_path(request.path))
    return sent.target


def _describe_reply(reply: Reply) -> Facts:
    lines = reply.lines.decode("latin-1").split("\r\n")
    locations = [line.partition(": ")[2] for line in lines if line.lower().startswith("location:")]
    return {"status": reply.status, **({"location": locations[0]} if locations else {})}


def _describe_refusal(reason: Reason) -> Facts:
    return {"outcome": "refused", "status": reason.status, "code": reason.code, "reason": reason.name.lower()}
