"""Tells metrics and access log how each request ended."""

from __future__ import annotations

from typing import Protocol

from gateway.errors import Reason
from gateway.observe.access_log import AccessLog
from gateway.observe.metrics import Metrics


class Request(Protocol):
    """What is told of a request."""

    @property
    def request_id(self) -> str:
        """The id it was given here."""

    @property
    def client(self) -> str:
        """The address it is accounted to."""

    @property
    def method(self) -> str:
        """As sent."""

    @property
    def path(self) -> str:
        """Canonical, without the query."""


class RequestObserver:
    """What the edge calls once for each request.

    Args:
        metrics: count it.
        access_log: writes it down; `None` where nobody wants to read it.
    """

    def __init__(self, metrics: Metrics, access_log: AccessLog | None) -> None:
        self._metrics = metrics
        self._access_log = access_log

    def answered(self, request: Request, route: str, status: int, seconds: float, reason: Reason | None) -> None:
        """A request was answered."""
        self._metrics.route(route).answered(status, seconds)
        if reason is not None:
            self._metrics.refused(reason)
        if self._access_log is not None:
            self._access_log.answered(
                request_id=request.request_id,
                client=request.client,
                method=request.method,
                path=request.path,
                route=route,
                status=status,
                seconds=seconds,
                reason="" if reason is None else reason.name.lower(),
            )

    def not_a_request(self, client: str, reason: Reason) -> None:
        """Bytes were refused."""
        self._metrics.refused(reason)
        if self._access_log is not None:
            self._access_log.refused(client=client, reason=reason.name.lower())
