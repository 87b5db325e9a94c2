"""A browser that holds a cookie and no token (R-41, R-43, R-130, R-147, R-180, R-181)."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis

from lockgate.cli import configuration
from lockgate.errors import ConfigurationError
from lockgate.identity.session_cookie import CookieCodec
from lockgate.keys import keyring
from lockgate.stores.layout import UserKeys
from tests.support import node as nodes
from tests.support.node import Node
from tests.support.pages import EVIL, LISTED, NAME, SERVER, Page, forwarded
from tests.support.shop_rig import CREDENTIALS, Caller, problem
from tests.support.upstream import Upstream

ALICE = UserKeys.of("id-alice")


async def test_a_login_sets_one_cookie_and_tells_no_token(node: Node, page: Page) -> None:
    """R-180: the name, every attribute, no Domain; and no JWT in the browser."""
    answer = await page.ask(node, "POST", "/auth/login", {**CREDENTIALS, "mode": "cookie"})
    assert answer.status == 200
    assert set(answer.json) == {"session_id", "expires_in", "refresh_expires_in", "scope"}
    assert (answer.json["expires_in"], answer.json["refresh_expires_in"]) == (300, 30 * 86_400)
    (line,) = page.said
    value = page.jar[NAME]
    assert line == f"{NAME}={value}; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=2592000"
    assert value.startswith("lgc_")
    assert "eyJ" not in answer.raw.decode()
    assert answer.value("cache-control") == "no-store"


async def test_the_cookie_is_good_on_every_node_and_the_service_sees_who_it_is_and_no_cookie(
    node: Node, other: Node, page: Page, service: Upstream
) -> None:
    page.jar["cart"] = "17"
    told = await page.login(node)
    for one in (other, node):
        assert (await page.ask(one, "GET", "/orders/1")).status == 200
    first, second = forwarded(service)
    for request in (first, second):
        assert request.values("x-user-id") == ["id-alice"]
        assert request.values("x-session-id") == [told["session_id"]]
        assert request.values("cookie") == ["cart=17"]
        assert request.values("authorization") == []
        assert page.jar[NAME] not in request.raw.decode("latin-1")
    assert len(page.said) == 1  # nothing but the login says anything of the cookie


async def everything_in(redis: Redis, key: Any) -> bytes:  # noqa: ANN401 - redis-py has it as text or bytes
    """A key and what it holds, as it is."""
    kind = await redis.type(key)
    text: Any = await redis.get(key) if kind == b"string" else b""
    fields: Any = await redis.hgetall(key) if kind == b"hash" else {}
    return b"".join([key, text, *fields.keys(), *fields.values()])


async def test_redis_holds_nothing_that_logs_anybody_in(node: Node, page: Page, redis: Redis) -> None:
    """R-140: a reader of Redis has neither the cookie nor the token behind it."""
    told = await page.login(node)
    stored = b"".join([await everything_in(redis, key) for key in await redis.keys("*")])
    secret = page.jar[NAME].removeprefix("lgc_")
    blob = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    mac = blob[16:48]
    for part in (page.jar[NAME].encode(), mac, mac.hex().encode(), b"eyJ"):
        assert part not in stored
    assert told["session_id"].encode() in stored  # so it was looked at the right place


async def test_what_somebody_wrote_into_redis_is_nobody(node: Node, other: Node, page: Page, redis: Redis) -> None:
    """A token of one's own, or of another session, in the place of the sealed one: it is not taken."""
    told = await page.login(node)
    key = ALICE.held(told["session_id"])
    foreign = Page()
    elsewhere = await foreign.login(node)
    sealed_elsewhere: Any = await redis.get(ALICE.held(elsewhere["session_id"]))
    for value in (other.tokens.token(sub="id-alice").encode(), b"", b"\0" * 64, sealed_elsewhere):
        await redis.set(key, value)
        async with nodes.running(node.settings, node.clock) as fresh:
            answer = await page.ask(fresh, "GET", "/auth/me")
        # The session goes on from what only the gateway can make.
        assert (answer.status, answer.json["session_id"]) == (200, told["session_id"])


async def test_a_session_with_tokens_has_no_cookie(node: Node, page: Page, redis: Redis) -> None:
    """A client that could make its cookie would hold the session twice, and past its refresh token's rules."""
    told = await Caller(node).login()
    secrets = keyring.load(node.settings.keys.directory).refresh_secrets
    page.jar[NAME] = CookieCodec(lambda: secrets).make("id-alice", told["session_id"]).value.decode()
    assert await page.me(node) == 401
    assert (await page.ask(node, "POST", "/auth/refresh")).status == 401
    assert await redis.exists(ALICE.session(told["session_id"]))
    assert (await Caller(node).json("/auth/refresh", {"refresh_token": told["refresh_token"]})).status == 200


async def test_a_token_of_another_session_in_the_place_of_the_sealed_one_is_not_taken(
    node: Node, page: Page, redis: Redis
) -> None:
    """As by an attacker with one cookie, write access to Redis, and another user's token."""
    told = await page.login(node)
    key = hashlib.sha256(b"lockgate session cookie key\0" + page.jar[NAME].encode()).digest()
    nonce, stolen = bytes(12), node.tokens.token(sub="id-ada", roles=["admin"])
    await redis.set(ALICE.held(told["session_id"]), nonce + AESGCM(key).encrypt(nonce, stolen.encode(), None))
    async with nodes.running(node.settings, node.clock) as fresh:
        assert (await page.ask(fresh, "GET", "/auth/me")).json["user_id"] == "id-alice"


async def test_cookies_are_off_unless_configured(caller: Caller, redis: Redis) -> None:
    """R-43."""
    refused = await caller.json(
        "/auth/login", {**CREDENTIALS, "mode": "cookie"}, fields="Sec-Fetch-Site: same-origin\r\n"
    )
    problem(refused, 400, "cookies_off")
    assert refused.values("set-cookie") == []
    assert await redis.keys("*session*") == []
    # One that comes all the same is ignored.
    answer = await caller.node.get("/orders", f"Cookie: {NAME}=lgc_x\r\n")
    assert (answer.status, answer.code) == (401, "credentials_required")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "gate.example", "::"])  # noqa: S104 - refused
def test_a_cookie_over_plain_http_is_for_the_machine_itself(tmp_path: Path, host: str) -> None:
    """R-180: not possible by accident."""
    with pytest.raises(ValueError, match="loopback"):
        nodes.settings(
            tmp_path, "redis://x", "http://127.0.0.1:1", server={"session_cookie": "localhost", "host": host}
        )
    proxied = {"session_cookie": "localhost", "trusted_proxies": ["127.0.0.1"]}
    with pytest.raises(ValueError, match="trusted_proxies"):
        nodes.settings(tmp_path, "redis://x", "http://127.0.0.1:1", server=proxied)


def test_nor_does_the_command_line_bring_it_to_another_host(tmp_path: Path) -> None:
    file = tmp_path / "lockgate.toml"
    file.write_text('[server]\nsession_cookie = "localhost"\n', encoding="utf-8")
    assert configuration.load_configuration(file).server.session_cookie == "localhost"
    with pytest.raises(ConfigurationError, match="loopback"):
        configuration.load_configuration(file, host="0.0.0.0")  # noqa: S104 - refused


# --- one credential in a request -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        "Authorization: Bearer {good}\r\n",
        "Authorization: Bearer a.b.c\r\n",
        "Authorization: Bearer a b\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: {good}\r\n",
        "Authorization: null\r\n",
        "Authorization: Basic YTpi, Bearer {good}\r\n",
        "Authorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n",
        "Authorization: Basic YTpi\r\nAuthorization: Bearer {good}\r\n",
        "Authorization: Basic YTpi\r\nAuthorization:\r\n",
    ],
)
@pytest.mark.parametrize("path", ["/orders", "/maybe", "/auth/me"])
async def test_a_cookie_and_a_token_at_once_are_refused(
    node: Node, page: Page, service: Upstream, path: str, authorization: str
) -> None:
    """R-41, R-43, R-204: with any token, the cookie is not what is left."""
    await page.login(node)
    answer = await page.ask(node, "GET", path, more=authorization.format(good=node.tokens.token()))
    assert (answer.status, answer.code) == (400, "repeated_credentials")
    assert forwarded(service) == []


@pytest.mark.parametrize("authorization", ["Basic YTpi", "Negotiate YII=", 'Digest a="b", c="d"', "ApiKey x", ""])
@pytest.mark.parametrize("path", ["/orders", "/maybe", "/auth/me", "/auth/sessions"])
async def test_credentials_for_somebody_else_leave_the_cookie_what_it_is(
    node: Node, page: Page, service: Upstream, path: str, authorization: str
) -> None:
    """R-41, R-204: a front door's Basic comes with every request of a browser; no service sees it."""
    await page.login(node)
    answer = await page.ask(node, "GET", path, more=f"Authorization: {authorization}\r\n")
    assert answer.status == 200
    for request in forwarded(service):
        assert request.value("x-user-id")
        assert request.values("authorization") == []


@pytest.mark.parametrize("whence", ["", EVIL, "Origin: null\r\n"])
@pytest.mark.parametrize("path", ["/orders", "/auth/logout", "/auth/refresh"])
async def test_other_credentials_do_not_take_a_cookie_past_the_check_of_its_page(
    node: Node, page: Page, service: Upstream, path: str, whence: str
) -> None:
    """R-181, R-204: cross-site use of the cookie stays at none, with any other credential beside it."""
    await page.login(node)
    answer = await page.ask(node, "POST", path, whence=whence, more="Authorization: Basic YTpi\r\n")
    assert (answer.status, answer.code) == (403, "cross_site_refused")
    assert forwarded(service) == []
    assert await page.me(node) == 200


async def test_a_refresh_by_cookie_ignores_a_stale_token_and_refuses_a_malformed_one(node: Node, page: Page) -> None:
    """R-204: a refresh reads no Bearer; what is no Bearer at all may have meant anything."""
    await page.login(node)
    for authorization, status in (
        ("Bearer e30.e30.e30", 200),
        ("Basic YTpi", 200),
        ("Bearer", 400),
        ("e30.e30.e30", 400),
    ):
        answer = await page.ask(node, "POST", "/auth/refresh", more=f"Authorization: {authorization}\r\n")
        assert answer.status == status


async def test_a_public_route_looks_at_neither(node: Node, page: Page, service: Upstream) -> None:
    await page.login(node)
    assert (await page.ask(node, "GET", "/open", more="Authorization: Bearer x\r\n")).status == 200
    (request,) = forwarded(service)
    assert request.values("cookie") == []


async def test_two_cookies_of_our_name_are_refused(node: Node, page: Page, service: Upstream) -> None:
    await page.login(node)
    for fields in (f"Cookie: {NAME}=lgc_x\r\n", f"Cookie: a=1; {NAME}={page.jar[NAME]}\r\n"):
        answer = await page.ask(node, "GET", "/maybe", more=fields)
        assert (answer.status, answer.code) == (400, "repeated_credentials")
    assert forwarded(service) == []


@pytest.mark.parametrize("value", ["", "lgc_", "lgc_AAAA", "x", "null", '"lgc_x"', "lgr_AAAA", "A" * 3000])
@pytest.mark.parametrize("path", ["/orders", "/maybe", "/auth/me"])
async def test_a_malformed_cookie_is_no_cookie_and_nobody_in_particular_neither(
    node: Node, service: Upstream, path: str, value: str
) -> None:
    """R-43: where an identity is optional, too."""
    answer = await node.get(path, f"Cookie: {NAME}={value}\r\n")
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.value("www-authenticate")
    assert answer.values("set-cookie") == []
    assert service.requests == []


async def test_the_name_of_the_other_mode_logs_nobody_in(node: Node, page: Page) -> None:
    """A sibling host can set a cookie of that name; so it must not count where the secure one does."""
    await page.login(node)
    answer = await node.get("/auth/me", f"Cookie: lockgate-localhost={page.jar[NAME]}\r\n")
    assert (answer.status, answer.code) == (401, "credentials_required")


async def test_no_cache_gives_one_users_answer_to_another(node: Node, page: Page) -> None:
    """RFC 9111 section 3.5 speaks of Authorization only."""
    await page.login(node)
    for path, status in (("/orders", 200), ("/auth/me", 200), ("/nowhere", 404)):
        answer = await page.ask(node, "GET", path)
        assert (answer.status, answer.values("vary")) == (status, ["Origin", "Cookie"])
    assert (await node.get("/orders", node.tokens.bearer())).values("vary") == ["Origin"]


async def test_a_front_proxy_may_ask_about_a_request_with_a_cookie(
    node: Node, page: Page, redis_url: str, service: Upstream, tmp_path: Path
) -> None:
    """The rules are those of the request it holds, not of its question."""
    server = {**SERVER, "trusted_proxies": ["127.0.0.1"]}
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, server=server), node.clock) as behind:
        await page.login(behind)
        for held, whence, expected in (
            ("GET", EVIL, 200),
            ("POST", LISTED, 200),
            ("POST", EVIL, 403),
            ("POST", "", 403),
        ):
            fields = f"X-Forwarded-Method: {held}\r\nX-Forwarded-Uri: /orders/1\r\n"
            answer = await page.ask(behind, "GET", "/auth/verify", whence=whence, more=fields)
            assert answer.status == expected, (held, whence)
            assert answer.values("x-user-id") == (["id-alice"] if expected == 200 else [])
            assert answer.values("set-cookie") == []


async def test_a_front_proxy_lets_no_page_open_a_socket_that_may_not(
    node: Node, page: Page, redis_url: str, service: Upstream, tmp_path: Path
) -> None:
    """R-171: the proxy keeps Upgrade to itself, so the key tells what it holds."""
    server = {**SERVER, "trusted_proxies": ["127.0.0.1"]}
    held = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /orders/1\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, server=server), node.clock) as behind:
        await page.login(behind)
        for whence, status in ((LISTED, 200), (EVIL, 403), ("Origin: null\r\n", 403), ("", 403)):
            answer = await page.ask(behind, "GET", "/auth/verify", whence=whence, more=held)
            assert (answer.status, len(answer.values("signature"))) == (status, 1 if status == 200 else 0), whence


# --- another site -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whence", ["", EVIL, "Origin: null\r\n", "Sec-Fetch-Site: none\r\n"])
async def test_another_site_can_change_nothing_with_the_cookie(
    node: Node, page: Page, service: Upstream, whence: str
) -> None:
    """R-181; what the site could do with its own hands, it still can."""
    told = await page.login(node)
    for method, path in (
        ("POST", "/orders"),
        ("PUT", "/orders/1"),
        ("PATCH", "/maybe"),
        ("DELETE", "/orders/1"),
        ("POST", "/auth/logout"),
        ("POST", "/auth/logout-all"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/tickets"),
        ("DELETE", f"/auth/sessions/{told['session_id']}"),
    ):
        answer = await page.ask(node, method, path, whence=whence)
        assert (answer.status, answer.code) == (403, "cross_site_refused"), (method, path)
        assert answer.values("set-cookie") == []
    assert forwarded(service) == []
    assert await page.me(node) == 200
    assert (await node.ask(f"POST /orders HTTP/1.1\r\n{whence}{node.tokens.bearer()}")).status == 200


async def test_a_page_of_a_listed_origin_can(node: Node, page: Page, service: Upstream) -> None:
    page.whence = LISTED
    await page.login(node)
    for method in ("POST", "PUT", "DELETE"):
        assert (await page.ask(node, method, "/orders/1")).status == 200
    assert len(forwarded(service)) == 3


@pytest.mark.parametrize("whence", ["", EVIL])
async def test_nobody_logs_somebody_in_from_another_site(node: Node, page: Page, redis: Redis, whence: str) -> None:
    """R-181, login CSRF: the victim would go on as the attacker."""
    answer = await page.ask(node, "POST", "/auth/login", {**CREDENTIALS, "mode": "cookie"}, whence=whence)
    assert (answer.status, answer.code) == (403, "cross_site_refused")
    assert page.said == []
    assert await redis.keys("*session*") == []


async def test_a_form_is_no_way_to_log_in(node: Node) -> None:
    """R-181: what a page of another site could send without asking first."""
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        body = b'{"username":"alice","password":"correct-horse-battery","mode":"cookie"}'
        answer = await node.ask(
            f"POST /auth/login HTTP/1.1\r\n{LISTED}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n", body
        )
        problem(answer, 415, "unsupported_media_type")
        assert answer.values("set-cookie") == []


async def test_where_there_is_no_cookie_mode_the_cookie_is_taken_off_and_nothing_else(
    redis: Redis, redis_url: str, service: Upstream, tmp_path: Path
) -> None:
    """R-43, R-44: a cookie that a browser still has from before is no credential, so it causes no 401 or 400."""
    del redis
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as node:
        for name in ("__Host-lockgate", "lockgate-localhost"):
            cookie = f"Cookie: a=1; {name}=lgc_x\r\n"
            assert (await node.get("/maybe", cookie)).status == 200
            assert (await node.get("/maybe", f"{cookie}{node.tokens.bearer()}")).status == 200
            assert (await node.get("/maybe", f"{cookie}Authorization: Bearer a.b.c\r\n")).status == 401
    assert [request.values("cookie") for request in service.requests] == [["a=1"]] * 4
