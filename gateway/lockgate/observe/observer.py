"""Reports the end of each request to metrics, access log and tracing."""

from __future__ import annotations

from typing import Final

from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason
from lockgate.observe.access_log import AccessLog
from lockgate.observe.metrics import Metrics
from lockgate.observe.tracing import Tracing

_ABOUT_ORIGIN: Final = (Reason.ORIGIN_REFUSED, Reason.CROSS_SITE)


class RequestObserver:
    """The edge's `Observer`, called once for each request.

    Args:
        access_log: `None` where the access log is off.
        tracing: `None` where no collector is configured.
    """

    def __init__(self, metrics: Metrics, access_log: AccessLog | None, tracing: Tracing | None) -> None:
        self._metrics = metrics
        self._access_log = access_log
        self._tracing = tracing

    def on_response(
        self, request: InboundRequest, route: str, status: int, seconds: float, reason: Reason | None
    ) -> None:
        """Report a request that has ended."""
        self._metrics.count_response(route, status, seconds)
        if reason is not None:
            self._metrics.count_refusal(reason)
        if self._access_log is not None:
            self._access_log.write_request(
                request_id=request.request_id,
                own_id=request.own_id,
                client=request.client,
                method=request.method,
                path=request.path,
                route=route,
                status=status,
                seconds=seconds,
                reason="" if reason is None else reason.name.lower(),
                origin=request.origin if reason in _ABOUT_ORIGIN else "",
            )

        if self._tracing is not None:
            self._tracing.record_request(request, route, status, seconds, reason)

    def on_refused_bytes(self, client: str, reason: Reason) -> None:
        """Report refused bytes that are no request."""
        self._metrics.count_refusal(reason)
        if self._access_log is not None:
            self._access_log.write_refused_bytes(client=client, reason=reason.name.lower())
