"""The gateway's own calls to a service, without sockets: what a caller that goes away, a time-out and a stop leave."""

from __future__ import annotations

import asyncio
import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason
from lockgate.upstream.client import MAX_BODY, UpstreamCall, UpstreamClient, UpstreamFailedError, UpstreamResponse
from lockgate.upstream.health import FAILURES
from tests.support.clock import ManualClock
from tests.support.links import GATEWAY_TO_ORDERS
from tests.support.memory_pool import memory_pool, upstream_of
from tests.support.raw import WITHIN_S
from tests.support.transports import Transport, settled

PATH = re.compile(rb"[A-Z]+ (\S+) HTTP/1.1\r\n")
SIGNATURE = re.compile(rb"Signature: (\S+)\r\n")


class Rig:
    """A client of a service with one address or more, in memory.

    Attributes:
        begun: the paths of calls.
        turns: how often the end of a call was told, by path.
    """

    def __init__(self, addresses: int = 1) -> None:
        ticker = Ticker(ManualClock())
        made = [memory_pool(ticker, f"192.0.2.{number}") for number in range(addresses)]
        self.pools, self.networks = [pool for pool, _ in made], [network for _, network in made]
        upstreams = [upstream_of(pool, ticker) for pool in self.pools]
        self.client = UpstreamClient(upstreams, lambda: GATEWAY_TO_ORDERS, ManualClock())
        self.begun: set[str] = set()
        self.turns: dict[str, int] = {}

    @property
    def service(self) -> list[Transport]:
        """The service's ends of all connections, in the order in which they were opened."""
        return [transport for network in self.networks for transport in network.opened]

    def ask(
        self, path: str, *, method: str = "GET", timeout_s: float = WITHIN_S, repeatable: bool = True
    ) -> asyncio.Task[UpstreamResponse]:
        """A caller."""
        call = UpstreamCall(method, path, "r-1", b"{}" if method == "POST" else b"", repeatable)

        def end() -> None:
            self.turns[path] = self.turns.get(path, 0) + 1

        async def send() -> UpstreamResponse:
            self.begun.add(path)
            return await self.client.send(call, timeout_s=timeout_s, on_end=end)

        return asyncio.create_task(send())


def respond(transport: Transport, data: bytes) -> None:
    """Bytes of the service."""
    assert transport.protocol is not None
    transport.protocol.data_received(data)


def hang_up(transport: Transport) -> None:
    """The service closes the connection."""
    assert transport.protocol is not None
    transport.protocol.eof_received()


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def paths(transport: Transport) -> list[bytes]:
    """What was asked over a connection."""
    return PATH.findall(transport.written)


@pytest.fixture
async def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    "pieces",
    [
        [whole(b"body")],
        [b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 4\r\n\r\nbo", b"dy"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n", b"2\r\ndy\r\n0\r\n\r\n"],
        [b"HTTP/1.1 103 Early Hints\r\n\r\n", whole(b"body")],
    ],
)
async def test_a_response_is_collected_however_it_comes_and_its_connection_is_kept(
    rig: Rig, pieces: list[bytes]
) -> None:
    caller = rig.ask("/a")
    await settled()
    for piece in pieces:
        respond(rig.service[0], piece)
    assert await caller == UpstreamResponse(200, b"body")
    second = rig.ask("/b")
    await settled()
    respond(rig.service[0], whole(b"other"))
    assert (await second).body == b"other"
    assert len(rig.service) == 1
    assert rig.turns == {"/a": 1, "/b": 1}


async def test_a_request_is_whole_and_signed(rig: Rig) -> None:
    rig.ask("/a", method="POST")
    await settled()
    head, _, body = rig.service[0].written.partition(b"\r\n\r\n")
    assert body == b"{}"
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /a HTTP/1.1"
    names = [line.partition(b":")[0].lower() for line in lines[1:]]
    assert sorted(names) == sorted(set(names))
    assert {b"host", b"content-length", b"content-type", b"content-digest", b"x-request-id", b"signature"} <= {*names}
    await rig.client.close()


# --- a caller that goes away ---------------------------------------------------------------------------------------


async def test_a_call_without_its_caller_keeps_its_turn_and_its_connection_until_its_response(rig: Rig) -> None:
    caller = rig.ask("/a")
    await settled()
    caller.cancel()
    await settled()
    assert caller.cancelled()
    assert rig.turns == {}
    other = rig.ask("/b")
    await settled()
    respond(rig.service[0], whole(b"for a"))
    respond(rig.service[1], whole(b"for b"))
    assert (await other).body == b"for b"
    assert rig.turns == {"/a": 1, "/b": 1}
    assert rig.pools[0].load == 0
    assert not any(transport.closed for transport in rig.service)


async def test_a_caller_that_goes_before_there_is_a_connection_leaves_its_call_to_go_on(rig: Rig) -> None:
    caller = rig.ask("/a")
    await asyncio.sleep(0)
    caller.cancel()
    await settled()
    assert paths(rig.service[0]) == [b"/a"]
    respond(rig.service[0], whole(b"for a"))
    assert rig.turns == {"/a": 1}
    assert rig.pools[0].load == 0


async def test_a_caller_that_goes_in_the_middle_of_a_response_leaves_the_rest_of_it_to_its_call(rig: Rig) -> None:
    caller = rig.ask("/a")
    await settled()
    respond(rig.service[0], whole(b"for a")[:-2])
    caller.cancel()
    await settled()
    respond(rig.service[0], b" a")
    second = rig.ask("/b")
    await settled()
    respond(rig.service[0], whole(b"for b"))
    assert (await second).body == b"for b"
    assert len(rig.service) == 1


# --- time-out ------------------------------------------------------------------------------------------------------


async def test_a_call_that_is_late_is_told_and_its_connection_is_never_used_again(rig: Rig) -> None:
    warm = rig.ask("/warm")
    await settled()
    respond(rig.service[0], whole(b"ok"))
    await warm
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_TIMEOUT"):
        await rig.ask("/a", timeout_s=0)
    assert rig.turns["/a"] == 1
    assert rig.service[0].closed
    caller = rig.ask("/b")
    await settled()
    assert paths(rig.service[1]) == [b"/b"]
    respond(rig.service[0], whole(b"for a, late"))
    respond(rig.service[1], whole(b"for b"))
    assert (await caller).body == b"for b"
    assert rig.pools[0].load == 0


async def test_a_call_that_is_late_while_its_connection_is_opened_leaves_the_connection_to_the_next(rig: Rig) -> None:
    rig.networks[0].opening = asyncio.Event()
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_TIMEOUT"):
        await rig.ask("/a", timeout_s=0)
    assert rig.pools[0].load == 0
    rig.networks[0].opening.set()
    await settled()
    caller = rig.ask("/b")
    await settled()
    assert [paths(transport) for transport in rig.service] == [[b"/b"]]
    respond(rig.service[0], whole(b"for b"))
    assert (await caller).body == b"for b"


async def test_a_caller_that_has_gone_does_not_keep_its_call_from_ending_in_time(rig: Rig) -> None:
    caller = rig.ask("/a", timeout_s=0)
    await asyncio.sleep(0)
    caller.cancel()
    await settled()
    assert rig.turns == {"/a": 1}
    assert rig.pools[0].load == 0


# --- stop ----------------------------------------------------------------------------------------------------------


async def test_a_stop_ends_every_call_and_closes_every_connection(rig: Rig) -> None:
    callers = [rig.ask("/a"), rig.ask("/b")]
    await settled()
    respond(rig.service[0], whole(b"half")[:-1])
    waiting = rig.ask("/c")
    gone = rig.ask("/d")
    await asyncio.sleep(0)
    gone.cancel()
    await rig.client.close()
    for caller in (*callers, waiting):
        with pytest.raises(UpstreamFailedError, match="DRAINING"):
            await caller
    await settled()
    assert rig.turns == {"/a": 1, "/b": 1, "/c": 1, "/d": 1}
    assert all(transport.closed for transport in rig.service)


async def test_a_call_after_the_stop_opens_no_connection(rig: Rig) -> None:
    await rig.client.close()
    with pytest.raises(UpstreamFailedError, match="DRAINING"):
        await rig.ask("/a")
    await settled()
    assert rig.turns == {"/a": 1}
    assert rig.service == []


# --- another try ---------------------------------------------------------------------------------------------------


async def test_another_address_is_tried_where_no_connection_came_about() -> None:
    rig = Rig(addresses=3)
    for network in rig.networks[:2]:
        network.refuses = True
    callers = [rig.ask(f"/{number}") for number in range(20)]
    await settled()
    assert len(rig.networks[2].opened) == 20
    for transport in rig.service:
        respond(transport, whole(b"ok"))
    assert {(await caller).status for caller in callers} == {200}


async def test_where_no_address_is_left_the_call_fails_and_says_that_no_connection_came_about() -> None:
    rig = Rig(addresses=2)
    for network in rig.networks:
        network.refuses = True
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_REFUSED"):
        await rig.ask("/a")
    assert rig.turns == {"/a": 1}


async def test_a_repeatable_call_that_is_broken_off_goes_to_another_address_once() -> None:
    """R-192."""
    rig = Rig(addresses=3)
    caller = rig.ask("/a", method="POST")
    await settled()
    (first,) = rig.service
    hang_up(first)
    await settled()
    (second,) = [transport for transport in rig.service if transport is not first]
    assert paths(second) == [b"/a"]
    assert SIGNATURE.findall(first.written) != SIGNATURE.findall(second.written)
    hang_up(second)
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_BROKE"):
        await caller
    assert len(rig.service) == 2
    assert rig.turns == {"/a": 1}


async def test_an_address_that_has_a_call_that_is_not_repeatable_is_the_only_one_that_gets_it() -> None:
    """R-192."""
    rig = Rig(addresses=2)
    caller = rig.ask("/a", method="POST", repeatable=False)
    await settled()
    hang_up(rig.service[0])
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_BROKE"):
        await caller
    assert [paths(transport) for transport in rig.service] == [[b"/a"]]


async def test_an_address_that_failed_lately_is_asked_last_and_is_asked_all_the_same() -> None:
    rig = Rig(addresses=2)
    failed, well = rig.networks
    for _ in range(FAILURES):
        rig.pools[0].breaker.record_failure()
    callers = [rig.ask(f"/{number}") for number in range(20)]
    await settled()
    assert (len(failed.opened), len(well.opened)) == (0, 20)
    well.refuses = True
    callers.append(rig.ask("/last"))
    await settled()
    assert len(failed.opened) == 1
    for transport in rig.service:
        respond(transport, whole(b"ok"))
    assert {(await caller).status for caller in callers} == {200}


async def kept(rig: Rig) -> Transport:
    """A connection that was used before, and is idle."""
    caller = rig.ask("/before")
    await settled()
    respond(rig.service[0], whole(b"ok"))
    await caller
    return rig.service[0]


async def test_a_call_over_a_kept_connection_that_ends_without_a_byte_is_signed_and_sent_once_more(rig: Rig) -> None:
    connection = await kept(rig)
    caller = rig.ask("/a", method="POST")
    await settled()
    hang_up(connection)
    await settled()
    respond(rig.service[1], whole(b"ok"))
    assert (await caller).body == b"ok"
    first, second = SIGNATURE.findall(connection.written)[1], SIGNATURE.findall(rig.service[1].written)[0]
    assert first != second
    assert rig.turns["/a"] == 1


async def test_a_call_is_sent_twice_at_most(rig: Rig) -> None:
    connection = await kept(rig)
    caller = rig.ask("/a")
    await settled()
    hang_up(connection)
    await settled()
    hang_up(rig.service[1])
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_BROKE"):
        await caller
    await settled()
    assert len(rig.service) == 2


async def test_a_call_is_sent_twice_at_most_also_over_connections_that_were_all_used_before(rig: Rig) -> None:
    for path in ("/a", "/b"):
        rig.ask(path)
    await settled()
    for transport in rig.service:
        respond(transport, whole(b"ok"))
    caller, other = rig.ask("/c"), rig.ask("/d")
    await settled()
    rig.networks[0].opening = asyncio.Event()
    (first,) = (transport for transport in rig.service if paths(transport)[-1] == b"/c")
    (second,) = (transport for transport in rig.service if paths(transport)[-1] == b"/d")
    hang_up(first)
    respond(second, whole(b"ok"))
    assert (await other).body == b"ok"
    assert paths(second)[-1] == b"/c"
    hang_up(second)
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_BROKE"):
        await caller
    await rig.client.close()


@pytest.mark.parametrize(
    ("repeatable", "said"), [(False, b""), (True, b"H"), (True, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")]
)
async def test_a_call_that_may_not_be_repeated_or_got_a_byte_is_sent_once(
    rig: Rig, said: bytes, *, repeatable: bool
) -> None:
    connection = await kept(rig)
    caller = rig.ask("/a", repeatable=repeatable)
    await settled()
    if said:
        respond(connection, said)
    hang_up(connection)
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_BROKE"):
        await caller
    await settled()
    assert len(rig.service) == 1


async def test_a_connection_that_the_service_closed_while_idle_is_not_used(rig: Rig) -> None:
    hang_up(await kept(rig))
    caller = rig.ask("/a", repeatable=False)
    await settled()
    respond(rig.service[1], whole(b"ok"))
    assert (await caller).body == b"ok"


# --- what a service may send -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False])
async def test_a_response_that_is_too_large_is_given_up_with_its_connection(rig: Rig, *, declared: bool) -> None:
    caller = rig.ask("/a")
    await settled()
    length = b"Content-Length: %d\r\n" % (2 * MAX_BODY) if declared else b""
    respond(rig.service[0], b"HTTP/1.1 200 OK\r\n%b\r\n" % length)
    respond(rig.service[0], b"x" * MAX_BODY)
    assert not caller.done()
    respond(rig.service[0], b"x")
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_BROKE"):
        await caller
    assert rig.service[0].closed
    assert rig.turns == {"/a": 1}


async def test_a_response_that_is_too_large_and_complete_ends_its_call_once(rig: Rig) -> None:
    caller = rig.ask("/a")
    await settled()
    respond(rig.service[0], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    respond(rig.service[0], b"%x\r\n%b\r\n0\r\n\r\n" % (MAX_BODY + 1, b"x" * (MAX_BODY + 1)))
    with pytest.raises(UpstreamFailedError, match="UPSTREAM_BROKE"):
        await caller
    assert rig.turns == {"/a": 1}
    assert rig.service[0].closed


async def test_bytes_that_belong_to_no_call_close_the_connection(rig: Rig) -> None:
    """Attack: a second response behind the first one, for the next caller."""
    connection = await kept(rig)
    respond(connection, whole(b"forged"))
    assert connection.closed
    caller = rig.ask("/a")
    await settled()
    respond(rig.service[1], whole(b"ok"))
    assert (await caller).body == b"ok"


async def test_a_response_with_more_than_it_declares_is_not_followed_by_another_call(rig: Rig) -> None:
    caller = rig.ask("/a")
    await settled()
    respond(rig.service[0], whole(b"ok") + whole(b"forged"))
    assert (await caller).body == b"ok"
    assert rig.service[0].closed


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Reason.UPSTREAM_BROKE),
        (b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Signature\r\nContent-Length: 0\r\n\r\n", Reason.LINK_REFUSED),
    ],
)
async def test_what_is_no_response_to_the_gateway_is_told_apart(rig: Rig, data: bytes, reason: Reason) -> None:
    caller = rig.ask("/a")
    await settled()
    respond(rig.service[0], data)
    with pytest.raises(UpstreamFailedError) as told:
        await caller
    assert told.value.reason is reason
    assert rig.service[0].closed


async def test_a_redirect_is_a_response_like_any_other(rig: Rig) -> None:
    caller = rig.ask("/a")
    await settled()
    respond(rig.service[0], b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n")
    assert (await caller).status == 307
    assert [paths(transport) for transport in rig.service] == [[b"/a"]]


async def test_a_call_that_cannot_be_signed_is_its_callers_fault_and_gives_its_turn_back(rig: Rig) -> None:
    """A line break in what is signed would pose as a further field."""
    with pytest.raises(ValueError, match="line break"):
        await rig.ask("/a\r\nX-Roles: admin")
    assert list(rig.turns.values()) == [1]
    assert rig.service == []
    assert rig.pools[0].load == 0


# --- any order of events ---------------------------------------------------------------------------------------------

EVENTS: Final = (
    "ask",
    "ask late",
    "caller goes",
    "whole response",
    "first half",
    "second half",
    "hang up",
    "lose",
    "more than asked for",
    "turn",
)


class Played(Rig):
    """Calls and a service that does one thing or another with any of them.

    Attributes:
        callers: by path.
        gone: paths of callers that went away.
    """

    def __init__(self) -> None:
        super().__init__()
        self.callers: dict[str, asyncio.Task[UpstreamResponse]] = {}
        self.gone: set[str] = set()

    async def play(self, event: str, which: int) -> None:
        """One event, at one of the callers or connections; nothing where there is none for it."""
        if event in {"ask", "ask late"}:
            path = f"/{len(self.callers)}"
            self.callers[path] = self.ask(path, timeout_s=0 if event == "ask late" else WITHIN_S)
        elif event == "turn":
            await settled()
        elif event == "caller goes" and self.callers:
            path = list(self.callers)[which % len(self.callers)]
            self.gone.add(path)
            self.callers[path].cancel()
        else:
            open_ends = [transport for transport in self.service if not transport.closed]
            if open_ends:
                self.act(event, open_ends[which % len(open_ends)])

    def act(self, event: str, transport: Transport) -> None:
        """One event at a connection. A response names the path of its request."""
        asked = paths(transport)
        response = whole(asked[-1]) if asked else b""
        half = response.find(b"\r\n\r\n")
        if event == "hang up":
            hang_up(transport)
        elif event == "lose":
            transport.close()
        elif response and event == "whole response":
            respond(transport, response)
        elif response and event == "first half":
            respond(transport, response[:half])
        elif response and event == "second half":
            respond(transport, response[half:])
        elif response and event == "more than asked for":
            respond(transport, response + whole(b"forged"))

    async def end(self) -> None:
        """All calls that are under way get their response, or the gateway stops."""
        await settled()
        await self.client.close()
        await asyncio.wait(self.callers.values())
        await settled()


async def played(events: list[tuple[str, int]]) -> Played:
    rig = Played()
    for event, which in events:
        await rig.play(event, which)
    await rig.play("ask", 0)
    await rig.end()
    return rig


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 3)), max_size=25))
def test_no_order_of_events_mixes_responses_up_or_keeps_a_turn_or_a_connection(events: list[tuple[str, int]]) -> None:
    rig = asyncio.run(played(events))
    assert rig.turns == dict.fromkeys(rig.begun, 1)
    for path, caller in rig.callers.items():
        if caller.cancelled():
            assert path in rig.gone
        elif caller.exception() is None:
            assert caller.result() == UpstreamResponse(200, path.encode())
        else:
            assert isinstance(caller.exception(), UpstreamFailedError)
    assert rig.pools[0].load == 0
    assert all(transport.closed for transport in rig.service)
