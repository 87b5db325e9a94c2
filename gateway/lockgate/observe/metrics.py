"""Counts a worker's requests, and renders the counts for Prometheus.

Micro-optimisation: the counters are plain integers, because every forwarded request passes here. prometheus-client
renders them when an operator reads `/metrics`. Each worker has its own counters, and Prometheus adds them up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from lockgate.errors import Reason

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram, in seconds; longer requests count in +Inf."""


class RouteCounters:
    """The requests of a route.

    Attributes:
        statuses: the number of responses by status code.
        buckets: the number of requests by bucket, the last for longer ones than all bounds.
        seconds: the sum over all requests, from the end of the head to the end of the response.
    """

    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = defaultdict(int)
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0


class RulesMetrics(NamedTuple):
    """The rules in force, and how often they were replaced.

    Attributes:
        revision: of the rules.
        taken: reloads that changed them.
        refused: reloads that were refused.
    """

    revision: str
    taken: int
    refused: int


Gauges = dict[str, tuple[str, Callable[[], float]]]
"""By name: the description, and the function that reads the current value."""

CountRetries = Callable[[], Iterable[tuple[str, str, int]]]
"""Tells the second tries since the start: service, outcome, number."""


class Metrics(Collector):
    """All counters of a worker.

    Args:
        gauges: values that are read at each request for the metrics.
        count_retries: read at each request for the metrics, too.

    Attributes:
        rules: tells of the rules in force; `None`: there are none.
    """

    def __init__(self, gauges: Gauges, count_retries: CountRetries = tuple) -> None:
        self._routes: dict[str, RouteCounters] = defaultdict(RouteCounters)
        self._refusals: Counter[Reason] = Counter()
        self._gauges = gauges
        self.rules: Callable[[], RulesMetrics] | None = None
        self._count_retries = count_retries
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def count_response(self, route: str, status: int, seconds: float) -> None:
        """Count a response.

        Args:
            route: the name of the request's route.
            status: the status of the response.
            seconds: from the end of the request's head to the end of the response.
        """
        counters = self._routes[route]
        counters.statuses[status] += 1
        counters.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        counters.seconds += seconds

    def count_refusal(self, reason: Reason) -> None:
        """Count a refusal."""
        self._refusals[reason] += 1

    def render_text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metrics as prometheus-client's objects; prometheus-client calls this."""
        requests = CounterMetricFamily(
            "lockgate_requests", "Responses by route and status.", labels=["route", "status"]
        )
        seconds = HistogramMetricFamily(
            "lockgate_request_seconds", "From the request's head to the end of the response.", labels=["route"]
        )
        for name, route in self._routes.items():
            for status, count in route.statuses.items():
                requests.add_metric([name, str(status)], count)
            bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
            seconds.add_metric([name], list(zip(bounds, accumulate(route.buckets), strict=True)), route.seconds)
        refusals = CounterMetricFamily("lockgate_refusals", "Refused requests by reason.", labels=["reason"])
        for reason, count in self._refusals.items():
            refusals.add_metric([reason.name.lower()], count)
        retries = CounterMetricFamily(
            "lockgate_retries", "Tries that failed, by what followed.", labels=["service", "outcome"]
        )
        for service, outcome, count in self._count_retries():
            retries.add_metric([service, outcome], count)
        yield from (requests, seconds, refusals, retries)
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=read())
        if self.rules is not None:
            yield from _describe_rules(self.rules())


def _describe_rules(rules: RulesMetrics) -> Iterator[Metric]:
    info = GaugeMetricFamily("lockgate_rules_info", "1 for the revision of the rules in force.", labels=["revision"])
    info.add_metric([rules.revision], 1)
    reloads = CounterMetricFamily("lockgate_reloads", "Reloads of the rules by outcome.", labels=["outcome"])
    reloads.add_metric(["taken"], rules.taken)
    reloads.add_metric(["refused"], rules.refused)
    yield from (info, reloads)
