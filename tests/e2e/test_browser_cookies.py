"""Cookie mode as a real browser sees it: the effect of its rules and of ours on pages of three origins.

The gateway is `lockgate dev`, which issues session cookies on this machine. One page is on a listed origin; another
differs from it in the port only, so that the browser sends it the cookie along (same site); the third is of another
site.
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

    from playwright.sync_api import BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.slow]

COOKIE: Final = "lockgate-localhost"
WHO: Final = {"username": "alice", "password": "correct-horse-battery", "mode": "cookie"}
FETCH: Final = """async ([url, options]) => {
    try {
        const answer = await fetch(url, options);
        return {status: answer.status, text: await answer.text(), id: answer.headers.get("x-request-id")};
    } catch (error) {
        return {failed: error.name};
    }
}"""
SOCKET: Final = """(url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => { socket.close(); resolve("open"); };
    socket.onerror = () => resolve("refused");
})"""
FORM: Final = """(url) => {
    const form = document.createElement("form");
    form.method = "post"; form.action = url;
    document.body.append(form);
    form.submit();
}"""
UNREADABLE: Final = {"failed": "TypeError"}


@dataclass(frozen=True)
class Visit:
    """An open page.

    Attributes:
        gateway: how the page calls it.
    """

    page: Page
    gateway: str

    def fetch(self, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - what fetch takes
        """The response that a script of the page gets, with the browser's credentials unless it says otherwise."""
        found: dict[str, Any] = self.page.evaluate(FETCH, [self.gateway + path, {"credentials": "include", **options}])
        return found

    def login(self) -> dict[str, Any]:
        """Try to log in."""
        body, kind = json.dumps(WHO), {"Content-Type": "application/json"}
        return self.fetch("/auth/login", method="POST", headers=kind, body=body)


@dataclass(frozen=True)
class Places:
    """The browser, and the three pages."""

    context: BrowserContext
    listed: Visit
    neighbour: Visit
    elsewhere: Visit

    def cookie(self) -> Any:  # noqa: ANN401 - a typed dict of the library's
        """The gateway's cookie as the browser keeps it; `None` where it keeps none."""
        return next((one for one in self.context.cookies() if one.get("name") == COOKIE), None)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int, int]]:
    """The gateway's address by the name of this machine, and the ports of a listed origin and of another."""
    folder: Path = tmp_path_factory.mktemp("stack")
    with pages() as listed, pages() as other:
        allowed = json.dumps([f"http://localhost:{listed}"])
        with running_stack(folder, "--workers", "2", LOCKGATE_SERVER__ALLOWED_ORIGINS=allowed) as stack:
            yield stack.url.replace("127.0.0.1", "localhost"), listed, other


@pytest.fixture
def places(gateway: tuple[str, int, int]) -> Iterator[Places]:
    url, listed, other = gateway

    with browsing() as context:

        def visit(address: str) -> Visit:
            page = context.new_page()
            page.goto(address)
            return Visit(page, url)

        yield Places(
            context,
            visit(f"http://localhost:{listed}/"),
            visit(f"http://localhost:{other}/"),
            visit(f"http://127.0.0.1:{other}/"),
        )


def test_a_listed_page_logs_in_and_calls_services_and_no_script_sees_the_cookie(places: Places) -> None:
    """R-180, R-182."""
    page = places.listed
    told = page.login()
    assert told["status"] == 200
    assert set(json.loads(told["text"])) == {"session_id", "expires_in", "refresh_expires_in", "scope"}
    kept = places.cookie()
    assert (kept["httpOnly"], kept["sameSite"], kept["path"], kept["domain"]) == (True, "Lax", "/", "localhost")
    for visit in (page, places.neighbour):  # cookies know no ports: the neighbour's scripts could read it, too
        assert visit.page.evaluate("document.cookie") == ""
    assert json.loads(page.fetch("/auth/me")["text"])["roles"] == ["customer"]
    assert page.fetch("/orders")["status"] == 200
    assert page.fetch("/auth/refresh", method="POST")["status"] == 200
    assert places.cookie() == kept


def test_a_listed_page_reads_refusals_too(places: Places) -> None:
    """R-182: otherwise it could not tell that it has to log in from the gateway's being away."""
    refused = places.listed.fetch("/orders")
    assert (refused["status"], json.loads(refused["text"])["code"]) == (401, "credentials_required")
    assert len(refused["id"]) == 32
    places.listed.login()
    assert places.listed.fetch("/auth/me", credentials="omit")["status"] == 401


@pytest.mark.parametrize("who", ["neighbour", "elsewhere"])
def test_another_page_neither_logs_in_nor_reads_nor_changes_anything(places: Places, who: str) -> None:
    """R-181, R-182: also the neighbour site, although the browser adds the cookie to its requests."""
    other: Visit = getattr(places, who)
    assert other.login() == UNREADABLE
    assert places.cookie() is None
    places.listed.login()
    kept = places.cookie()
    assert other.fetch("/auth/me") == UNREADABLE
    # What the browser sends without asking first: its answer cannot be read, but it does arrive.
    other.fetch("/auth/logout", method="POST", mode="no-cors")
    other.fetch("/auth/logout-all", method="POST", mode="no-cors", headers={"Content-Type": "text/plain"}, body="{}")
    with other.page.expect_navigation() as navigated:
        other.page.evaluate(FORM, f"{other.gateway}/auth/logout")
    answer = navigated.value
    assert answer is not None
    # Of another site the cookie does not come along at all.
    assert (answer.status, answer.json()["code"]) == (
        (403, "cross_site_refused") if who == "neighbour" else (401, "credentials_required")
    )
    assert places.cookie() == kept
    assert places.listed.fetch("/auth/me")["status"] == 200


def test_only_a_listed_page_opens_a_socket(places: Places) -> None:
    """R-171."""
    url = places.listed.gateway.replace("http", "ws") + "/orders/events"
    assert places.listed.page.evaluate(SOCKET, url) == "refused"
    places.listed.login()
    assert places.listed.page.evaluate(SOCKET, url) == "open"
    assert places.neighbour.page.evaluate(SOCKET, url) == "refused"


def test_a_logout_leaves_nothing_in_the_browser(places: Places) -> None:
    """R-180."""
    places.listed.login()
    assert places.listed.fetch("/auth/logout", method="POST")["status"] == 204
    assert places.cookie() is None
    assert places.listed.fetch("/auth/me")["status"] == 401
