"""Pages of other origins in a real browser: what they may send, what they can read, and which streams stay open.

The gateway is `lockgate dev`. Two pages call it: one of a listed origin, and one of the gateway's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.chromium import browsing, pages
from tests.support.stack import running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.slow]

WHO: Final = {"username": "alice", "password": "correct-horse-battery"}
FETCH: Final = """async ([url, options]) => {
    try {
        const answer = await fetch(url, options);
        return {status: answer.status, text: await answer.text(), fields: Object.fromEntries(answer.headers)};
    } catch (error) {
        return {failed: error.name};
    }
}"""
SOCKET: Final = """(url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => { socket.close(); resolve("open"); };
    socket.onerror = () => resolve("refused");
})"""
EVENTS: Final = """(url) => new Promise((resolve) => {
    const events = new EventSource(url);
    events.onopen = () => { events.close(); resolve("open"); };
    events.onerror = () => { if (events.readyState === EventSource.CLOSED) resolve("refused"); };
})"""
JSON: Final = {"Content-Type": "application/json"}


@dataclass
class Visit:
    """An open page.

    Attributes:
        gateway: how the page calls it.
        bearer: the Authorization value of its calls after the login.
    """

    page: Page
    gateway: str
    bearer: dict[str, str]

    def fetch(self, path: str, headers: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - what fetch takes
        """The response that a script of the page gets."""
        sent = {"headers": {**self.bearer, **(headers or {})}, **options}
        found: dict[str, Any] = self.page.evaluate(FETCH, [self.gateway + path, sent])
        return found

    def code(self, path: str, headers: dict[str, str] | None = None, **options: Any) -> tuple[int, str]:  # noqa: ANN401 - as above
        """Status and code of a refusal, as far as a script can read them."""
        told = self.fetch(path, headers, **options)
        assert "failed" not in told, path
        return told["status"], json.loads(told["text"])["code"]

    def login(self, **more: str) -> dict[str, Any]:
        """Log in; from then on each call has a token, unless a cookie was asked for."""
        told = self.fetch("/auth/login", JSON, method="POST", body=json.dumps({**WHO, **more}))
        assert told["status"] == 200
        found: dict[str, Any] = json.loads(told["text"])
        if "access_token" in found:
            self.bearer = {"Authorization": f"Bearer {found['access_token']}"}
        return found

    def ticket(self) -> str:
        """A one-time ticket."""
        told = self.fetch("/auth/tickets", method="POST")
        assert told["status"] == 201
        ticket: str = json.loads(told["text"])["ticket"]
        return ticket


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The gateway's address, and the port of a listed origin."""
    folder: Path = tmp_path_factory.mktemp("stack")
    with pages() as listed:
        allowed = json.dumps([f"http://localhost:{listed}"])
        settings = {"LOCKGATE_SERVER__ALLOWED_ORIGINS": allowed, "LOCKGATE_LOGIN__REFRESH_LIMIT": "1"}
        with running_stack(folder, **settings) as running:
            yield running.url, listed


@pytest.fixture
def listed(stack: tuple[str, int]) -> Iterator[Visit]:
    """A page of a listed origin."""
    with browsing() as context:
        page = context.new_page()
        page.goto(f"http://localhost:{stack[1]}/")
        yield Visit(page, stack[0], {})


@pytest.fixture(params=["127.0.0.1", "localhost"])
def own(stack: tuple[str, int], request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A page of the gateway's own origin, by each name of this machine."""
    url = stack[0].replace("127.0.0.1", request.param)
    with browsing() as context:
        page = context.new_page()
        page.goto(f"{url}/healthz")
        yield Visit(page, url, {})


def test_what_tracing_and_sdks_add_to_each_call_takes_no_page_down(listed: Visit) -> None:
    """R-203, R-209."""
    added = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "a=b",
        "baggage": "a=b",
        "X-Request-Id": "mine",
        "X-User-Agent": "grpc-web-javascript/0.1",
        "X-Hostname": "shop",
        "api_key": "1",
    }
    listed.login()
    told = listed.fetch("/orders", added)
    assert told["status"] == 200
    assert told["fields"]["x-request-id"] != "mine"
    # No page may name its user; the browser keeps these fields from being sent.
    assert listed.fetch("/orders", {"X-User-Id": "root"}) == {"failed": "TypeError"}


def test_a_page_reads_what_it_needs_of_an_answer(listed: Visit) -> None:
    """R-210."""
    listed.login()
    assert listed.fetch("/orders/cart")["fields"]["etag"]
    made = listed.fetch("/orders/exports", JSON, method="POST", body="{}")
    assert made["fields"]["location"].startswith("/orders/exports/")


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("/orders/a%00", {}, (400, "malformed_target")),
        (f"/orders/{'a' * 9000}", {}, (414, "target_too_long")),
        ("/nowhere", {}, (404, "not_found")),
        ("/auth/nowhere", {}, (404, "not_found")),
        ("/orders", {"headers": {"Authorization": "Bearer a.b.c"}}, (401, "invalid_token")),
        ("/orders", {"headers": {"Authorization": "Bearer"}}, (400, "malformed_credentials")),
        ("/auth/login", {"method": "POST", "body": "x" * 20_000, "headers": JSON}, (413, "body_too_large")),
        ("/orders", {"headers": {"X-Long": "a" * 20_000}}, (431, "head_too_large")),
    ],
)
def test_a_page_reads_why_it_was_refused(
    listed: Visit, path: str, options: dict[str, Any], expected: tuple[int, str]
) -> None:
    """R-208: with a field that makes the browser ask first, as every call with a token has."""
    listed.bearer = {"X-Trace": "1"}
    assert listed.code(path, **options) == expected


def test_a_page_reads_that_it_has_to_wait(listed: Visit) -> None:
    """R-210."""
    told = [listed.fetch("/auth/refresh", JSON, method="POST", body='{"refresh_token":"x"}') for _ in range(2)]
    assert told[-1]["status"] == 429
    assert int(told[-1]["fields"]["retry-after"]) > 0


def test_an_old_token_does_not_keep_a_page_from_logging_in(listed: Visit) -> None:
    """R-204."""
    listed.bearer = {"Authorization": "Bearer a.b.c"}
    listed.login()
    assert listed.fetch("/auth/me")["status"] == 200


def test_an_event_stream_opens_by_ticket_once(listed: Visit) -> None:
    """R-211: EventSource can send nothing else."""
    listed.login()
    url = f"{listed.gateway}/orders/events"
    assert listed.page.evaluate(EVENTS, url) == "refused"
    with_ticket = f"{url}?ticket={listed.ticket()}"
    assert listed.page.evaluate(EVENTS, with_ticket) == "open"
    assert listed.page.evaluate(EVENTS, with_ticket) == "refused"
    assert listed.page.evaluate(EVENTS, f"{url}?ticket={listed.ticket()}") == "open"


def test_a_page_of_the_gateways_own_origin_opens_sockets_and_streams_by_its_cookie(own: Visit) -> None:
    """R-211: without an entry in the list."""
    socket = f"{own.gateway.replace('http', 'ws')}/orders/events"
    assert own.page.evaluate(SOCKET, socket) == "refused"
    own.login(mode="cookie")
    assert own.page.evaluate(SOCKET, socket) == "open"
    assert own.page.evaluate(EVENTS, f"{own.gateway}/orders/events") == "open"
    assert own.fetch("/auth/logout", method="POST")["status"] == 204
    assert own.page.evaluate(SOCKET, socket) == "refused"


def test_basic_of_a_front_door_leaves_the_cookie_of_a_page_what_it_is(own: Visit) -> None:
    """R-204."""
    own.login(mode="cookie")
    own.bearer = {"Authorization": "Basic YTpi"}
    assert own.fetch("/orders")["status"] == 200
    assert own.fetch("/auth/me")["status"] == 200
