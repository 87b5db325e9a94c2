"""What a worker counts, and how Prometheus reads it.

The counters are plain integers, because every forwarded request passes here; prometheus-client turns them into its text
form when somebody asks. Each worker has its own: Prometheus adds them up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from lockgate.errors import Reason

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram, in seconds; what is longer falls into +Inf."""


class RouteCounters:
    """The requests of one route.

    Attributes:
        statuses: how many were answered with each status code.
        buckets: how many took as long as each bucket says, and longer than all of them.
        seconds: from the end of a request's head to the end of the answer, of all together.
    """

    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = defaultdict(int)
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0


Gauges = dict[str, tuple[str, Callable[[], float]]]
"""By name: what it tells, and how to read it now."""


class Metrics(Collector):
    """All counters of a worker.

    Args:
        gauges: values that are read when somebody asks.
    """

    def __init__(self, gauges: Gauges) -> None:
        self._routes: dict[str, RouteCounters] = defaultdict(RouteCounters)
        self._refusals: Counter[Reason] = Counter()
        self._gauges = gauges
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def count_response(self, route: str, status: int, seconds: float) -> None:
        """Count one answer.

        Args:
            route: the name of the request's route.
            status: of the answer.
            seconds: from the end of the request's head to the end of the answer.
        """
        counters = self._routes[route]
        counters.statuses[status] += 1
        counters.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        counters.seconds += seconds

    def count_refusal(self, reason: Reason) -> None:
        """Count a refusal."""
        self._refusals[reason] += 1

    def render_text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus-client."""
        requests = CounterMetricFamily("lockgate_requests", "Answers by route and status.", labels=["route", "status"])
        seconds = HistogramMetricFamily(
            "lockgate_request_seconds", "From the request's head to the end of the answer.", labels=["route"]
        )
        for name, route in self._routes.items():
            for status, count in route.statuses.items():
                requests.add_metric([name, str(status)], count)
            bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
            seconds.add_metric([name], list(zip(bounds, accumulate(route.buckets), strict=True)), route.seconds)
        refusals = CounterMetricFamily("lockgate_refusals", "Refused requests by reason.", labels=["reason"])
        for reason, count in self._refusals.items():
            refusals.add_metric([reason.name.lower()], count)
        yield from (requests, seconds, refusals)
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=read())
