"""Four applications behind one gateway, over TLS, as the example's README runs them."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from websockets.asyncio.client import ClientConnection, connect

from tests.support.applications import APP, WIKI, Applications, running_applications
from tests.support.chromium import browsing
from tests.support.raw import POLL_S, WITHIN_S, Message, Wire, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from playwright.sync_api import BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.slow]

LOGIN: Final = {"username": "alice", "password": "correct-horse-battery"}
RELOADS: Final = 12
REQUESTS: Final = 3000
"""At least as many are under way while the rules change."""
LOAD_WITHIN_S: Final = 120


@pytest.fixture(scope="module")
def applications(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applications]:
    with running_applications(tmp_path_factory.mktemp("example") / "applications") as running:
        yield running


@pytest.fixture
def browser() -> Iterator[BrowserContext]:
    with browsing(any_certificate=True) as context:
        yield context


def log_in(page: Page) -> None:
    """By the page at `/login/`, to which the page has a link."""
    page.click("text=Log in")
    page.fill("[name=username]", LOGIN["username"])
    page.fill("[name=password]", LOGIN["password"])
    page.click("button:has-text('Log in')")


def test_a_front_end_logs_in_calls_its_api_and_opens_its_socket(
    applications: Applications, browser: BrowserContext
) -> None:
    """R-180, R-266, R-300: the page holds no token, and the API sees the path without the prefix."""
    page = browser.new_page()
    page.goto(applications.address(APP))
    log_in(page)
    page.fill("#note input", "milk")
    page.click("#note button")
    page.wait_for_selector("#notes li:has-text('milk')")
    seen = page.evaluate("fetch('/api/notes').then((response) => response.json())")
    assert (seen["path"], seen["notes"]) == ("/notes", ["milk"])
    page.fill("#say input", "good day")
    page.click("#say button")
    page.wait_for_selector(f"#live li:has-text('{seen['user']}: good day')")
    assert page.locator("#live li").first.inner_text() == f"Hello, {seen['user']}"
    assert page.evaluate("document.cookie") == ""


def test_a_wiki_that_knows_nothing_of_the_gateway_works_on_its_own_host(
    applications: Applications, browser: BrowserContext
) -> None:
    """Forms, redirects to absolute addresses, and a cookie of its own; the session of the other host is not here."""
    page = browser.new_page()
    page.goto(applications.address(APP))
    log_in(page)
    page.wait_for_selector("#live li")
    page.goto(applications.address(WIKI))
    assert page.url == applications.address(WIKI, "/Home")
    assert page.inner_text("#hello").startswith("Hello, guest")
    log_in(page)
    page.wait_for_selector("#hello:has-text('Hello, alice')")
    page.click("text=Sandbox")
    page.click("text=Edit")
    page.fill("textarea", "Sand, and a way <Home>")
    with page.expect_navigation() as navigated:
        page.click("text=Save")
    answer = navigated.value
    assert answer is not None
    assert answer.request.redirected_from is not None
    assert (page.url, answer.status) == (applications.address(WIKI, "/Sandbox"), HTTPStatus.OK)
    assert page.inner_text("#text") == "Sand, and a way <Home>"
    assert page.inner_text("#saved") == "Saved."
    page.reload()
    assert page.locator("#saved").count() == 0
    assert page.inner_text("#hello") == "Hello, alice"


@pytest.mark.parametrize("name", ["X-Forwarded-User", "x_forwarded_user", "X-FORWARDED--USER"])
def test_a_client_cannot_tell_the_wiki_who_it_is(applications: Applications, name: str) -> None:
    """R-320: without a session it is a guest, and with one it is its user."""
    page = applications.address(WIKI, "/Home")
    assert "Hello, guest" in applications.curl(page, "--header", f"{name}: admin")
    cookie = session(applications, WIKI)
    told = applications.curl(page, "--header", f"{name}: admin", "--cookie", cookie)
    assert "Hello, alice" in told
    refused = applications.curl(page, "--header", f"{name}: admin", "--data", "text=x", "--write-out", "%{http_code}")
    assert refused.endswith("401")


def session(applications: Applications, host: str) -> str:
    """A new session of a host, as curl gets it: name and value of its cookie."""
    told = applications.curl(
        *("--include", "--json", json.dumps({**LOGIN, "mode": "cookie"})),
        *("--header", f"Origin: https://{host}:{applications.port}"),
        applications.address(host, "/auth/login"),
    )
    (cookie,) = (line.split(": ")[1] for line in told.splitlines() if line.lower().startswith("set-cookie:"))
    return cookie.partition(";")[0]


def test_a_session_of_one_host_counts_for_its_api(applications: Applications) -> None:
    """R-266: and a request without it is refused before it reaches the API."""
    notes = applications.address(APP, "/api/notes")
    refused = applications.curl(notes)
    assert json.loads(refused)["code"] == "credentials_required"
    told = applications.curl(notes, "--include", "--cookie", session(applications, APP))
    assert "no-store" in told
    assert '"path":"/notes"' in told


def test_a_host_without_a_certificate_is_not_served(applications: Applications) -> None:
    """R-303: nor is the other host on a connection for one."""
    status = ("--output", "/dev/null", "--write-out", "%{http_code}")
    assert applications.curl("--insecure", *status, applications.address("other.localhost")) == "421"
    other = ("--header", f"Host: {WIKI}:{applications.port}")
    assert applications.curl(*status, *other, applications.address(APP)) == "421"


def test_plain_http_leads_to_the_same_address_by_https(applications: Applications) -> None:
    """R-307: curl follows it to the page."""
    plain = f"http://{WIKI}:{applications.plain}/Home?x=1"
    assert "Hello, guest" in applications.curl("--location", plain)
    led = applications.curl("--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}", plain)
    assert led == f"308 {applications.address(WIKI, '/Home?x=1')}"


@dataclass
class Load:
    """Users of all four applications, each on a connection of its own.

    Attributes:
        answered: how many requests of each kind got the response that they should.
        failed: what the others got.
    """

    applications: Applications
    cookies: dict[str, str]
    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    enough: bool = False

    def has_answered(self, count: int) -> bool:
        """Whether so many requests in all have got the response that they should, or one has failed."""
        return self.answered.total() >= count or bool(self.failed)

    async def get(self, host: str, path: str, expected: bytes) -> None:
        """GET a path again and again on one connection."""
        wire = await opened(self.applications, host)
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{self.applications.port}\r\nCookie: {self.cookies[host]}\r\n\r\n"

        async def ask() -> bool:
            await wire.send(head.encode())
            response = await wire.message()
            return response.status == HTTPStatus.OK and expected in response.body

        await self._repeat(f"{host}{path}", ask)
        wire.close()

    async def write(self) -> None:
        """Save a page of the wiki again and again, as its form does."""
        wire, body = await opened(self.applications, WIKI), "text=A+page"
        origin = f"https://{WIKI}:{self.applications.port}"
        head = (
            f"POST /Load HTTP/1.1\r\nHost: {WIKI}:{self.applications.port}\r\nOrigin: {origin}\r\n"
            f"Cookie: {self.cookies[WIKI]}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )

        async def ask() -> bool:
            await wire.send(head.encode())
            response = await wire.message()
            return response.status == HTTPStatus.SEE_OTHER and response.value("location") == f"{origin}/Load"

        await self._repeat("form", ask)
        wire.close()

    async def talk(self) -> None:
        """Say something again and again on one socket."""
        async with socket_of(self.applications, self.cookies[APP]) as socket:
            assert str(await socket.recv()).startswith("Hello, ")

            async def ask() -> bool:
                await socket.send("still here")
                return str(await socket.recv()).endswith(": still here")

            await self._repeat("socket", ask)

    async def _repeat(self, kind: str, ask: Callable[[], Awaitable[bool]]) -> None:
        while not self.enough:
            try:
                async with asyncio.timeout(WITHIN_S):
                    good = await ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure of the load
                self.failed.append(f"{kind}: {error!r}")
                return
            if good:
                self.answered[kind] += 1
            else:
                self.failed.append(kind)


async def opened(applications: Applications, host: str) -> Wire:
    """A connection that trusts the example's authority alone."""
    context = ssl.create_default_context(cafile=applications.authority)
    async with asyncio.timeout(WITHIN_S):
        port = applications.port
        return Wire(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host))


def socket_of(applications: Applications, cookie: str) -> connect:
    """A socket as the front end opens it."""
    return connect(
        f"wss://{APP}:{applications.port}/live",
        host="127.0.0.1",
        ssl=ssl.create_default_context(cafile=applications.authority),
        origin=f"https://{APP}:{applications.port}",  # type: ignore[arg-type]
        additional_headers={"Cookie": cookie},
        proxy=None,
    )


async def reload(applications: Applications) -> str:
    """What `lockgate reload` prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lockgate.cli", "reload"),
        cwd=applications.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_rules_change_while_users_are_on_all_four_applications(applications: Applications) -> None:
    """R-292, R-306: twelve reloads and a new certificate, and no request fails; the sockets stay open."""
    rules = applications.config.read_text()
    load = Load(applications, {host: session(applications, host) for host in (APP, WIKI)})
    users = (
        *(load.get(APP, "/", b"<h1>Front end</h1>") for _ in range(2)),
        *(load.get(WIKI, "/Home", b"Hello, alice") for _ in range(2)),
        *(load.get(APP, "/api/notes", b'"path":"/notes"') for _ in range(3)),
        *(load.talk() for _ in range(2)),
        load.write(),
    )
    try:
        async with asyncio.timeout(LOAD_WITHIN_S), asyncio.TaskGroup() as group:
            for user in users:
                group.create_task(user)
            for turn in range(RELOADS):
                await change(applications, rules, turn)
                before = load.answered.total()
                await until(partial(load.has_answered, before + REQUESTS // RELOADS), LOAD_WITHIN_S)
                if turn == RELOADS // 2:
                    await asyncio.to_thread(applications.replace_certificates)
            load.enough = True
    finally:
        applications.config.write_text(rules)
        await reload(applications)
    print(  # noqa: T201 - the figures in docs/performance.md
        f"{load.answered.total()} requests, {len(load.failed)} failed: {dict(load.answered)}"
    )
    assert load.failed == []
    assert load.answered.total() >= REQUESTS
    assert len(load.answered) == len({"front", "wiki", "api", "form", "socket"})


async def change(applications: Applications, rules: str, turn: int) -> None:
    """Change a route of each kind, add one, and see that it is in force."""
    route = f'[[route]]\nname = "turn"\nprefix = "/turn"\nhosts = ["{APP}"]\nrespond = {{ body = "{turn}" }}\n'
    changed = rules.replace('auth = "optional" ', f'auth = "optional"\ntimeout_s = {20 + turn} ')
    changed = changed.replace('"no-store"', f'"no-store, max-age={turn}"')
    assert changed.count(f"={turn}") + changed.count(f"= {20 + turn}") == len(("api", "wiki"))
    applications.config.write_text(f"{changed}\n{route}")
    await reload(applications)
    wire = await opened(applications, APP)
    assert (await get(wire, applications, "/turn")).body == str(turn).encode()
    wire.close()


async def get(wire: Wire, applications: Applications, path: str) -> Message:
    """The response to one GET."""
    await wire.send(f"GET {path} HTTP/1.1\r\nHost: {APP}:{applications.port}\r\n\r\n".encode())
    return await wire.message()


async def test_a_new_certificate_is_seen_by_new_connections_and_loses_none(applications: Applications) -> None:
    """R-306: connections and sockets that are open go on under the certificate that they saw."""
    before = [await opened(applications, APP) for _ in range(8)]
    cookie = session(applications, APP)
    async with socket_of(applications, cookie) as socket:
        old = serial_of(before[0])
        await asyncio.to_thread(applications.replace_certificates)
        after = await another(applications, old)
        for wire in (*before, after):
            assert (await get(wire, applications, "/")).status == HTTPStatus.OK
            wire.close()
        await heard_again(socket)


async def another(applications: Applications, old: int) -> Wire:
    """The first connection with another certificate."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            wire = await opened(applications, APP)
            if serial_of(wire) != old:
                return wire
            wire.close()
            await asyncio.sleep(POLL_S)


async def heard_again(socket: ClientConnection) -> None:
    """See that a socket still works."""
    async with asyncio.timeout(WITHIN_S):
        await socket.recv()
        await socket.send("still here")
        assert str(await socket.recv()).endswith(": still here")


def serial_of(wire: Wire) -> int:
    """The serial number of the certificate that a client saw."""
    return x509.load_der_x509_certificate(wire.shown).serial_number
