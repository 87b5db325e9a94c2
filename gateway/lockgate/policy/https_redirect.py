"""Redirects requests that came by plain http to the same target by https."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from lockgate.edge.own_call import Reply
from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason, Refusal
from lockgate.policy.hosts import WILDCARD, covers_host, strip_port
from lockgate.policy.own_paths import is_for_machines
from lockgate.policy.replies import redirect_to
from lockgate.settings import Settings


class HttpsRedirect:
    """The redirect to https.

    Attack: a redirect to the host that `Host` names, kept by a shared cache, sends other clients to that host. So the
    host is always one that the configuration names.
    """

    def __init__(self, settings: Settings) -> None:
        server, public = settings.server, urlsplit(settings.public_url)
        patterns = {host for route in settings.route for host in route.hosts}
        names = {*server.allowed_hosts, *([server.own_host] if server.own_host else ()), *patterns}
        self._authorities = {name: name for name in names if not name.startswith(WILDCARD)}
        self._authorities[strip_port(public.netloc.lower())] = public.netloc.lower()
        self._wildcards = tuple(pattern for pattern in patterns if pattern.startswith(WILDCARD))

    def respond_to(self, request: InboundRequest) -> Reply | Refusal | None:
        """The redirect of a request, or the refusal of a host that is not configured; `None` for a request to serve."""
        if request.scheme != "http" or is_for_machines(request):
            return None
        name = strip_port(request.host)
        authority = self._authorities.get(name)
        if authority is None:
            if not any(covers_host(wildcard, name) for wildcard in self._wildcards):
                return Refusal(Reason.UNKNOWN_HOST)
            authority = name
        return redirect_to(f"https://{authority}{request.target}", HTTPStatus.PERMANENT_REDIRECT)


def build_https_redirect(settings: Settings) -> HttpsRedirect | None:
    """The redirect, where `server.redirect_http` switches it on."""
    return HttpsRedirect(settings) if settings.server.redirect_http else None
