"""The port for plain HTTP beside TLS: every request is redirected to `https`, for hosts with a certificate only."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from lockgate.edge.headers import without_port
from lockgate.edge.own_call import OwnCall, Reply, field_lines
from lockgate.edge.path import SERVER_WIDE
from lockgate.edge.responses import NO_SNIFFING
from lockgate.endpoints.health import CAPABILITIES
from lockgate.endpoints.problems import problem_reply
from lockgate.errors import Reason, Refusal

_HTTPS_PORT: Final = 443


class TlsRedirect:
    """Answers a request with the same address over TLS.

    Args:
        public_url: the address that clients use, of https; its port is that of all redirects.
        is_certified: whether the gateway has a certificate for a host. A redirect to any other host would be of use to
            an attacker alone.
    """

    def __init__(self, public_url: str, is_certified: Callable[[str], bool]) -> None:
        port = urlsplit(public_url).port
        self._port = "" if port in {None, _HTTPS_PORT} else f":{port}"
        self._is_certified = is_certified

    def __call__(self, call: OwnCall) -> Reply:
        """The redirect, for every method with the same method (RFC 9110 section 15.4.9)."""
        request = call.request
        if request.path == SERVER_WIDE:
            return CAPABILITIES
        host = without_port(request.host)
        if not self._is_certified(host):
            return problem_reply(request, Refusal(Reason.UNKNOWN_HOST))
        location = f"https://{host}{self._port}{request.target}"
        lines = field_lines([("Location", location), *NO_SNIFFING.items()])
        return Reply(HTTPStatus.PERMANENT_REDIRECT, lines)
