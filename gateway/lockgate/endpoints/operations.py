"""What only operators see, on a listener of its own: metrics and health."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from lockgate.endpoints import health, problems
from lockgate.endpoints.calls import OwnCalls
from lockgate.observe.metrics import Metrics
from lockgate_common.problem import NO_STORE


def build_calls(metrics: Metrics, checks: Mapping[str, health.Check], revision: Callable[[], str]) -> OwnCalls:
    """The calls behind the operations listener; `revision` returns that of the rules in force."""

    def build_application() -> FastAPI:
        app = FastAPI(
            title="Lockgate operations", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
        )
        problems.install_handlers(app)
        api = APIRouter()

        @api.get("/metrics")
        async def scrape() -> Response:
            """Every counter of this worker, in Prometheus' text format."""
            return Response(metrics.render_text(), headers={"Content-Type": CONTENT_TYPE_LATEST, **NO_STORE})

        app.include_router(api)
        app.include_router(health.build_router(checks, revision))
        return app

    return OwnCalls((health.ALIVE_CALL,), build_application)
