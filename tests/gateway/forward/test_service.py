"""Which of a service's addresses a request goes to (R-284 to R-286)."""

from __future__ import annotations

from collections import Counter

import pytest

from lockgate.edge.headers import examine_fields
from lockgate.edge.request import InboundRequest
from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason, Refusal
from lockgate.forward.outbound import OutboundRequests
from lockgate.forward.retries import Retries
from lockgate.forward.service import Service
from lockgate.keys.current import Current
from lockgate.observe.tracing import NOTHING_SAMPLED
from lockgate.policy.spread import EVEN, Pin, Spread
from lockgate.settings import LimitSettings, UpstreamSettings
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.health import EJECTED_S, FAILURES
from lockgate.upstream.pool import UpstreamPool
from lockgate.upstream.response import ResponseHeadReader
from lockgate.upstream.upstream import Upstream
from lockgate_trust import LinkKeys
from tests.support.clock import ManualClock
from tests.support.links import GATEWAY_TO_ORDERS
from tests.support.transports import settled

PIN = Pin(b"x-to", is_cookie=False)
DRAWS = 2000


def request(to: int | None = None) -> InboundRequest:
    fields = "Host: shop.example\r\n" + (f"X-To: {to}\r\n" if to is not None else "")
    facts, _ = examine_fields(fields.encode(), LimitSettings())
    return InboundRequest("GET", "/", None, True, facts.host, facts, "192.0.2.1", "http", "0" * 32, "0" * 32)  # noqa: FBT003 - HTTP/1.1


class Rig:
    """A service with as many upstreams as asked for, each a name with an address or more.

    Attributes:
        addresses: of each upstream, by its name; looked up at each `find`.
    """

    def __init__(self, spread: Spread = EVEN, **addresses: list[str]) -> None:
        self.clock = ManualClock()
        self.ticker = Ticker(self.clock)
        self.addresses = addresses
        links = Current(LinkKeys.from_keys("gateway", [GATEWAY_TO_ORDERS]))
        self.service = Service(
            [Upstream(Endpoint.of_url(f"http://{name}:80"), self._pool, self.ticker, self._find) for name in addresses],
            OutboundRequests(links, "orders", NOTHING_SAMPLED),
            Retries("orders", self.ticker),
            spread,
            forward_authorization=False,
        )

    def _pool(self, endpoint: Endpoint) -> UpstreamPool:
        return UpstreamPool(endpoint, UpstreamSettings(), self.ticker, ResponseHeadReader())

    async def _find(self, name: str, port: int) -> list[str]:
        assert port == 80
        return self.addresses[name]

    async def find(self) -> None:
        """Look all names up."""
        self.tick(6)
        await settled()

    def tick(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.ticker.tick()

    def chosen(self, to: int | None = None) -> UpstreamPool:
        pool = self.service.choose_pool(request(to))
        assert isinstance(pool, UpstreamPool)
        return pool

    def drawn(self, to: int | None = None) -> Counter[str]:
        """How often each address is chosen."""
        return Counter(self.chosen(to).endpoint.address for _ in range(DRAWS))

    def kill(self, address: str) -> UpstreamPool:
        """Let an address fail until it is ejected."""
        pool = next(pool for pool in map(self._any, range(DRAWS)) if pool.endpoint.address == address)
        for _ in range(FAILURES):
            pool.breaker.record_failure()
        return pool

    def _any(self, number: int) -> UpstreamPool:
        return self.chosen(1 + number % len(self.addresses))


async def test_all_addresses_of_all_names_get_like_shares() -> None:
    """R-284: three addresses of one name are three upstreams."""
    rig = Rig(a=["10.0.0.1", "10.0.0.2", "10.0.0.3"], b=["10.0.1.1"])
    await rig.find()
    drawn = rig.drawn()
    assert set(drawn) == {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1"}
    assert min(drawn.values()) > DRAWS / 8


async def test_a_name_with_new_addresses_is_chosen_by_them_from_then_on() -> None:
    """R-284."""
    rig = Rig(a=["10.0.0.1"], b=["10.0.1.1"])
    await rig.find()
    rig.addresses["a"] = ["10.0.0.9"]
    await rig.find()
    assert set(rig.drawn()) == {"10.0.0.9", "10.0.1.1"}


async def test_weights_share_the_requests_among_upstreams_however_many_addresses_they_have() -> None:
    """R-285: a canary gets its share, and not more because the others are few."""
    rig = Rig(Spread(weights=(9, 1)), a=["10.0.0.1"], b=["10.0.1.1", "10.0.1.2"])
    await rig.find()
    drawn = rig.drawn()
    assert 0.05 * DRAWS < drawn["10.0.1.1"] + drawn["10.0.1.2"] < 0.15 * DRAWS
    assert drawn["10.0.1.1"] > 0
    assert drawn["10.0.1.2"] > 0


async def test_without_weight_an_upstream_gets_what_is_pinned_to_it_and_nothing_else() -> None:
    """R-285, R-286."""
    rig = Rig(Spread(weights=(1, 0), pin=PIN), a=["10.0.0.1"], b=["10.0.1.1"])
    await rig.find()
    assert set(rig.drawn()) == {"10.0.0.1"}
    assert set(rig.drawn(to=2)) == {"10.0.1.1"}
    tried = rig.chosen()
    assert rig.service.choose_another(request(), tried) is None


async def test_the_share_of_a_dead_upstream_goes_to_the_others() -> None:
    """R-285."""
    rig = Rig(Spread(weights=(9, 1), pin=PIN), a=["10.0.0.1"], b=["10.0.1.1"])
    await rig.find()
    rig.kill("10.0.0.1")
    assert set(rig.drawn()) == {"10.0.1.1"}


@pytest.mark.parametrize("to", [1, 2, 3])
async def test_a_pin_chooses_its_upstream_and_among_its_addresses(to: int) -> None:
    """R-286."""
    addresses = {"a": ["10.0.0.1"], "b": ["10.0.1.1", "10.0.1.2"], "c": ["10.0.2.1"]}
    rig = Rig(Spread(pin=PIN), **addresses)
    await rig.find()
    assert set(rig.drawn(to=to)) == set(list(addresses.values())[to - 1])


@pytest.mark.parametrize("to", [0, 4, 999])
async def test_a_pin_to_no_upstream_is_ignored(to: int) -> None:
    """R-286."""
    rig = Rig(Spread(pin=PIN), a=["10.0.0.1"], b=["10.0.1.1"], c=["10.0.2.1"])
    await rig.find()
    assert set(rig.drawn(to=to)) == {"10.0.0.1", "10.0.1.1", "10.0.2.1"}


async def test_a_pin_to_a_dead_upstream_falls_back_to_the_others_and_returns() -> None:
    """R-286."""
    rig = Rig(Spread(pin=PIN), a=["10.0.0.1"], b=["10.0.1.1"])
    await rig.find()
    dead = rig.kill("10.0.0.1")
    assert set(rig.drawn(to=1)) == {"10.0.1.1"}
    rig.tick(EJECTED_S)
    assert rig.chosen(to=1) is dead
    dead.breaker.record_success()
    assert set(rig.drawn(to=1)) == {"10.0.0.1"}


async def test_a_second_try_stays_with_the_pinned_upstream_where_that_has_another_address() -> None:
    """R-286."""
    rig = Rig(Spread(pin=PIN), a=["10.0.0.1"], b=["10.0.1.1", "10.0.1.2"])
    await rig.find()
    tried = rig.chosen(to=2)
    for _ in range(20):
        other = rig.service.choose_another(request(2), tried)
        assert other is not None
        assert other.endpoint.address in {"10.0.1.1", "10.0.1.2"} - {tried.endpoint.address}


async def test_a_second_try_prefers_a_working_address_and_takes_an_ejected_one_where_there_is_no_other() -> None:
    """R-280: the ejected one may be back, and the first one is known to be dead."""
    rig = Rig(Spread(pin=PIN), a=["10.0.0.1"], b=["10.0.1.1"], c=["10.0.2.1"])
    await rig.find()
    tried, dead = rig.chosen(to=1), rig.kill("10.0.1.1")
    others = {rig.service.choose_another(request(), tried) for _ in range(50)}
    assert {other.endpoint.address for other in others if other is not None} == {"10.0.2.1"}
    rig.kill("10.0.2.1")
    assert rig.service.choose_another(request(), rig.chosen(to=1)) is not None
    assert dead.breaker.is_open


async def test_when_the_last_working_address_falls_those_that_fell_before_may_be_back() -> None:
    """R-280: what their breakers know is older than that."""
    rig = Rig(a=["10.0.0.1"], b=["10.0.1.1"])
    await rig.find()
    one, other = rig.service._pools  # noqa: SLF001 - both, whichever is chosen
    for pool in (one, other):
        for _ in range(FAILURES):
            pool.breaker.record_failure()
    assert rig.chosen() is one
    one.breaker.record_success()
    assert set(rig.drawn()) == {"10.0.0.1"}
    for _ in range(FAILURES):
        one.breaker.record_failure()
    assert rig.chosen() is other
    other.breaker.record_failure()
    refused = [rig.service.choose_pool(request()) for _ in range(10)]
    assert all(isinstance(one, Refusal) for one in refused)


async def test_where_all_are_ejected_a_request_is_refused_at_once_and_one_probes_later() -> None:
    """R-195: only one of two that are due."""
    rig = Rig(Spread(pin=PIN), a=["10.0.0.1"], b=["10.0.1.1"])
    await rig.find()
    first, second = rig.kill("10.0.0.1"), rig.kill("10.0.1.1")
    dead = {first, second}
    assert rig.chosen() is first
    first.breaker.record_failure()
    refused = rig.service.choose_pool(request())
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.UPSTREAM_EJECTED
    rig.tick(EJECTED_S)
    assert {rig.chosen(), rig.chosen()} == dead
    assert isinstance(rig.service.choose_pool(request()), Refusal)
