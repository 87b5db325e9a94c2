"""Only the gateway names the user of a request: R-50 to R-61."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate_trust import Verified, verify
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.rules import HOST, RESERVED, SPELLINGS, refused
from tests.support.upstream import Upstream


@pytest.mark.parametrize("route", ["/open", "/maybe", "/profile"])
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
async def test_no_client_can_say_who_it_is(node: Node, upstream: Upstream, route: str, spelling: type[str]) -> None:
    """R-50, R-55: on a public route as well, and with a token of one's own."""
    lies = "".join(f"{spelling(name)}: lie\r\n" for name in RESERVED)
    credentials = node.tokens.bearer(sub="u77", roles=[]) if route == "/profile" else ""
    assert (await node.get(route, credentials + lies)).status == 200
    (request,) = upstream.requests
    assert b"lie" not in request.raw
    assert request.values("x-user-id") == (["u77"] if credentials else [])
    # A user without roles gets an empty, signed list, and not the client's.
    assert request.values("x-user-roles") == ([""] if credentials else [])


CONFUSABLE = ("X_User_Id", "X.User.Id", "x-user_id", "X_Anything", "a.b", "api_key", "session_id", "_", ".")


@pytest.mark.parametrize("name", CONFUSABLE)
async def test_a_field_whose_name_cgi_would_confuse_is_dropped_and_counted(
    node: Node, upstream: Upstream, name: str
) -> None:
    """R-51, R-209: the request goes on without it."""
    assert (await node.get("/open", f"{name}: lie\r\nX-Kept: 1\r\n")).status == 200
    (request,) = upstream.requests
    assert b"lie" not in request.raw
    assert request.value("x-kept") == "1"
    assert "lockgate_field_dropped 1.0" in (node.worker.observability.metrics.render_text().decode())


@pytest.mark.parametrize(
    "line", ["Content_Length: 5", "Transfer_Encoding: chunked", "Transfer.Encoding: chunked", "Content.Length: 5"]
)
async def test_a_dropped_field_frames_nothing(node: Node, upstream: Upstream, line: str) -> None:
    """R-51, R-80, R-209: what follows is a request of its own, for the gateway and for the service."""
    raw = b"GET /open HTTP/1.1\r\n" + HOST + line.encode() + b"\r\n\r\n"
    client = await node.connect()
    await client.send(raw + b"GET /open/2 HTTP/1.1\r\n" + HOST + b"\r\n")
    assert [(await client.message()).status for _ in range(2)] == [200, 200]
    client.close()
    assert [request.line for request in upstream.requests] == ["GET /open HTTP/1.1", "GET /open/2 HTTP/1.1"]
    assert all(request.body == b"" for request in upstream.requests)


NOBODYS = (
    "X-User-Agent",
    "X-User-Locale",
    "X-User-Timezone",
    "X-Hostname",
    "X-Host-Version",
    "X-Schemes",
    "X-Usercentrics-Id",
    "X-Envoyage",
    "X-Forwarder",
    "X-Originals",
    "X-Token-Ids",
    "X-Signature",
    "Signature-Version",
    "X-Auth-Timeout",
    "Traceparents",
    "Content-Digest-Wanted",
)


@pytest.mark.parametrize("name", NOBODYS)
async def test_a_name_that_only_begins_like_a_reserved_one_reaches_the_service(
    node: Node, upstream: Upstream, name: str
) -> None:
    """R-203."""
    assert (await node.get("/open", f"{name}: kept\r\n")).status == 200
    (request,) = upstream.requests
    assert request.values(name.lower()) == ["kept"]


async def test_a_name_that_only_begins_like_a_reserved_one_reaches_the_client(redis_url: str, tmp_path: Path) -> None:
    """R-203: on responses as on requests."""
    lines = "".join(f"{name}: kept\r\n" for name in NOBODYS).encode()
    async with (
        upstreams.running(
            upstreams.recorder(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n")
        ) as upstream,
        nodes.running(nodes.settings(tmp_path, redis_url, upstream.url)) as node,
    ):
        got = await node.get("/open")
    assert [got.values(name.lower()) for name in NOBODYS] == [["kept"]] * len(NOBODYS)


FAMILIES = (
    *("X-Auth-Request-", "X-Forwarded-", "X-Original-", "X-SSL-Client-", "X-Envoy-", "X-WebAuth-", "Remote-User"),
    *("X-Authentik-", "X-Authelia-", "X-Pomerium-", "Tailscale-"),
)


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
async def test_no_service_can_say_to_a_client_what_is_said_to_services(
    redis_url: str, tmp_path: Path, spelling: type[str]
) -> None:
    """R-61, R-203: in every spelling; a family counts with its separators."""
    families = [] if spelling("a-b") == "ab" else [f"{family}x" for family in FAMILIES]
    lies = "".join(f"{spelling(name)}: lie\r\n" for name in (*RESERVED, *families))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Kept: 1\r\n" + lies.encode() + b"\r\n"
    async with (
        upstreams.running(upstreams.recorder(answer)) as upstream,
        nodes.running(nodes.settings(tmp_path, redis_url, upstream.url)) as node,
    ):
        got = await node.get("/open")
    assert got.value("x-kept") == "1"
    assert b"lie" not in got.raw


HOP_BY_HOP = (
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic eA==",
    "Proxy-Authenticate: Basic",
    "TE: gzip",
    "TE: trailers",
    "Trailer: X-User-Id",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "Proxy: http://evil.example",
    "Sec-WebSocket-Protocol: lockgate, lockgate.bearer.a.b.c",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@pytest.mark.parametrize("line", HOP_BY_HOP)
async def test_fields_of_one_connection_are_not_forwarded(node: Node, upstream: Upstream, line: str) -> None:
    """R-54, R-91."""
    assert (await node.get("/open", f"{line}\r\nConnection: keep-alive\r\n")).status == 200
    (request,) = upstream.requests
    name = line.partition(":")[0].lower()
    assert request.values(name) == []
    assert request.values("connection") == []


async def test_what_connection_names_is_removed_and_what_the_gateway_adds_is_not(
    node: Node, upstream: Upstream
) -> None:
    """R-52: the gateway's own fields are added after Connection was heeded."""
    named = ", ".join(["close", "X-Secret", *RESERVED, "X-Forwarded-For", "X-Forwarded-Host"])
    fields = f"X-Secret: 1\r\nX-Kept: 2\r\nConnection: {named}\r\nConnection: x-other\r\nX-Other: 3\r\n"
    assert (await node.get("/profile", node.tokens.bearer(sub="u5") + fields)).status == 200
    (request,) = upstream.requests
    assert request.values("x-secret") == request.values("x-other") == []
    assert request.values("x-kept") == ["2"]
    assert request.value("x-user-id") == "u5"
    assert request.value("x-forwarded-for") == "127.0.0.1"
    assert request.value("x-forwarded-host") == "shop.example"
    assert isinstance(_verified(node, request.fields, request.line), Verified)


@pytest.mark.parametrize(
    "name", ["Host", "Content-Length", "Transfer-Encoding", "Authorization", "Cookie", "Content-Type", "Expect"]
)
async def test_connection_cannot_name_what_decides(node: Node, upstream: Upstream, name: str) -> None:
    """R-53."""
    raw = b"POST /open HTTP/1.1\r\n" + HOST + f"Connection: close, {name}\r\nContent-Length: 2\r\n\r\nhi".encode()
    await refused(node, upstream, raw, 400, "malformed_header")


@pytest.mark.parametrize("value", ["a b", "close;", '"close"', "close keep-alive", "é"])
async def test_a_connection_field_that_is_no_list_of_tokens_is_refused(
    node: Node, upstream: Upstream, value: str
) -> None:
    raw = b"GET /open HTTP/1.1\r\n" + HOST + f"Connection: {value}\r\n\r\n".encode()
    await refused(node, upstream, raw, 400)


FORWARDING = (
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Uri",
    "X-Forwarded",
    "x--forwarded-for",
    "Forwarded",
    "X-Real-Ip",
    "True-Client-Ip",
    "X-Original-Url",
    "X-Original-Host",
    "X-Rewrite-Url",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "CF-Connecting-IP",
    "CF-Connecting-IPv6",
    "Client-IP",
    "Proxy-Client-IP",
    "WL-Proxy-Client-IP",
    "X-Cluster-Client-IP",
    "X-Azure-ClientIP",
    "X-Envoy-External-Address",
    "X-Remote-IP",
    "X-Remote-Addr",
    "Remote-Addr",
    "X-Originating-IP",
    "Fly-Client-IP",
    "Front-End-Https",
    "X-Url-Scheme",
    "X_Forwarded_For",
    "Client.Ip",
)


@pytest.mark.parametrize("name", FORWARDING)
async def test_where_a_request_came_from_is_for_the_gateway_to_say(node: Node, upstream: Upstream, name: str) -> None:
    """R-57: no peer is trusted by default."""
    assert (await node.get("/open", f"{name}: 6.6.6.6\r\n")).status == 200
    (request,) = upstream.requests
    assert b"6.6.6.6" not in request.raw
    assert request.value("x-forwarded-for") == "127.0.0.1"
    assert request.value("x-forwarded-proto") == "http"
    assert request.value("x-forwarded-host") == "shop.example"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 127.0.0.2", "203.0.113.9"),
        ("127.0.0.2, 127.0.0.3", "127.0.0.2"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("unknown", "127.0.0.1"),
        ("203.0.113.9, not an address", "127.0.0.1"),
        ("203.0.113.9:1234", "203.0.113.9"),
        ("198.51.100.7:51234, 127.0.0.2:9", "198.51.100.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("203.0.113.9,", "203.0.113.9"),
        (" ,, 203.0.113.9 ,", "203.0.113.9"),
        ("203.0.113.9:99999999", "127.0.0.1"),
        ("[2001:db8::1", "127.0.0.1"),
        ("203.0.113.09", "127.0.0.1"),
        ("_hidden", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:443", "fe80::1"),
        ("[fe80::1%eth0]:443", "fe80::1"),
        ("fe80::1%\xe9vil", "127.0.0.1"),
        ("2001:db8::7, unknown", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
async def test_a_trusted_proxy_is_believed_about_the_hop_before_it(
    redis_url: str, upstream: Upstream, tmp_path: Path, chain: str, client: str
) -> None:
    """R-57, R-58: what cannot be read as an address leaves the peer's, and no exception."""
    configured = nodes.settings(tmp_path, redis_url, upstream.url, server={"trusted_proxies": ["127.0.0.0/8"]})
    async with nodes.running(configured) as node:
        fields = f"X-Forwarded-For: {chain}\r\nX-Forwarded-Proto: https\r\n"
        assert (await node.get("/open", fields)).status == 200
    (request,) = upstream.requests
    assert request.values("x-forwarded-for") == [client]
    assert request.value("x-forwarded-proto") == "https"


async def test_the_identity_is_signed_for_this_request_alone(node: Node, upstream: Upstream) -> None:
    """R-59."""
    token = node.tokens.bearer(sub="alice", roles=["customer"])
    assert (await node.ask(f"PUT /orders/7?a=b HTTP/1.1\r\n{token}Content-Length: 2\r\n", b"hi")).status == 200
    (request,) = upstream.requests
    verified = _verified(node, request.fields, request.line)
    assert isinstance(verified, Verified)
    assert verified.caller.user_id == "alice"
    for line in ("PUT /orders/8?a=b HTTP/1.1", "PUT /orders/7?a=c HTTP/1.1", "DELETE /orders/7?a=b HTTP/1.1"):
        assert not isinstance(_verified(node, request.fields, line), Verified)
    for name in ("x-user-id", "x-user-scopes", "x-request-id", "content-digest"):
        changed = [(field, "other" if field == name else value) for field, value in request.fields]
        assert not isinstance(_verified(node, changed, request.line), Verified)


async def test_services_never_see_the_token(node: Node, upstream: Upstream) -> None:
    """R-60."""
    line = node.tokens.bearer()
    assert (await node.get("/orders", line)).status == 200
    assert (await node.get("/open", line)).status == 200
    token = line.split()[-1].encode()
    for request in upstream.requests:
        assert token not in request.raw
        assert request.values("authorization") == []


async def test_a_route_may_hand_the_token_on(redis_url: str, upstream: Upstream, tmp_path: Path) -> None:
    """R-60: by a documented switch of the route."""
    route = [entry | {"forward_authorization": True} for entry in nodes.routes(upstream.url)]
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, route=route)) as node:
        line = node.tokens.bearer()
        assert (await node.get("/orders", line)).status == 200
    (request,) = upstream.requests
    assert line.encode() in request.raw.replace(b"authorization", b"Authorization")


async def test_what_is_the_gateways_in_an_answer_is_not_the_services_to_say(redis_url: str, tmp_path: Path) -> None:
    """R-61."""
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-User-Id: u1\r\n"
        b"Signature: x\r\nSignature-Input: x\r\nX-Request-Id: mine\r\nConnection: keep-alive, X-Internal\r\n"
        b"X-Internal: 1\r\nKeep-Alive: timeout=5\r\nServer: x/1\r\nX-Kept: 2\r\nTE: x\r\nUpgrade: h2c\r\n\r\nok"
    )
    async with (
        upstreams.running(upstreams.recorder(answer)) as upstream,
        nodes.running(nodes.settings(tmp_path, redis_url, upstream.url)) as node,
    ):
        got = await node.get("/open")
    assert got.values("set-cookie") == ["a=1", "b=2"]
    assert got.value("x-kept") == "2"
    assert got.value("x-request-id") != "mine"
    gone = {"x-user-id", "signature", "signature-input", "x-internal", "keep-alive", "server", "te", "upgrade"}
    assert gone.isdisjoint(name for name, _ in got.fields)


async def test_equal_bytes_are_judged_equally_the_second_time(node: Node, upstream: Upstream) -> None:
    """The memory of examined fields must not make a lie true."""
    lies = "X-User-Id: lie\r\nConnection: X-Gone\r\nX-Gone: lie\r\nX-Forwarded-For: lie\r\n"
    for _ in range(3):
        assert (await node.get("/open", lies)).status == 200
    assert len(upstream.requests) == 3
    assert all(b"lie" not in request.raw for request in upstream.requests)


def _verified(node: Node, fields: list[tuple[str, str]], line: str) -> object:
    method, target, _ = line.split(" ")
    path, _, query = target.partition("?")
    return verify(node.links("orders"), method=method, path=path, query=query, headers=fields, now=node.clock.now())


@pytest.mark.parametrize(
    "name",
    [
        "X-User",
        "X-User-Email",
        "X-Auth-Request-User",
        "Remote-User",
        "X-Remote-User",
        "X-SSL-Client-Cert",
        "X-Envoy-Peer",
    ],
)
async def test_what_other_gateways_say_is_not_for_clients_to_say(node: Node, upstream: Upstream, name: str) -> None:
    """R-50: a service that was written behind one of them would believe it."""
    assert (await node.get("/open", f"{name}: lie\r\n")).status == 200
    (request,) = upstream.requests
    assert b"lie" not in request.raw


async def test_a_content_type_comes_once(node: Node, upstream: Upstream) -> None:
    raw = b"POST /open HTTP/1.1\r\n" + HOST + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 2\r\n\r\nhi"
    await refused(node, upstream, raw, 400, "malformed_header")


async def test_a_method_has_the_length_of_one(
    node: Node, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """The method stands in the access log: a client that sends 20,000 letters must not fill the disk."""
    await refused(node, upstream, b"G" * 33 + b" /open HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed_request")
    assert "GGG" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "client", "scheme"),
    [
        ("forwarded", "for=203.0.113.9", "203.0.113.9", "http"),
        ("forwarded", 'for="203.0.113.9:4711";proto=https', "203.0.113.9", "https"),
        ("forwarded", 'For="[2001:db8::7]:4711";Proto=HTTPS;by=x', "2001:db8::7", "https"),
        ("forwarded", "for=6.6.6.6;proto=http, for=203.0.113.9;proto=https, for=127.0.0.2", "203.0.113.9", "https"),
        ("forwarded", 'for="6.6.6.6, for=1.2.3.4", for=203.0.113.9', "203.0.113.9", "http"),
        ("forwarded", "for=_hidden;proto=https", "127.0.0.1", "https"),
        ("forwarded", 'for=6.6.6.6;by=", for=203.0.113.9;proto=https', "203.0.113.9", "https"),
        ("forwarded", 'for=6.6.6.6;by=", for="203.0.113.9:4711"', "203.0.113.9", "http"),
        ("forwarded", 'for=6.6.6.6;by="\\, for="203.0.113.9:4711";proto=https', "203.0.113.9", "https"),
        ("forwarded", 'for="[fe80::1%eth0]:1"', "fe80::1", "http"),
        ("forwarded", "for=unknown", "127.0.0.1", "http"),
        ("forwarded", "for=6.6.6.6;for=7.7.7.7;x, for=203.0.113.9;proto=https", "203.0.113.9", "https"),
        ("forwarded", "for=203.0.113.9;proto=https, by=x", "127.0.0.1", "http"),
        ("forwarded", "for=203.0.113.9;for=6.6.6.6", "127.0.0.1", "http"),
        ("forwarded", "for", "127.0.0.1", "http"),
        ("forwarded", "proto=https", "127.0.0.1", "https"),
        ("x-real-ip", "203.0.113.9", "203.0.113.9", "http"),
        ("cf-connecting-ip", "2001:db8::7", "2001:db8::7", "http"),
        ("true-client-ip", "nonsense", "127.0.0.1", "http"),
        ("X-Azure-ClientIP", "203.0.113.9", "203.0.113.9", "http"),
        ("x-envoy-external-address", "2001:db8::7", "2001:db8::7", "http"),
    ],
)
async def test_the_configured_field_gives_the_address_and_no_other_does(  # noqa: PLR0913, PLR0917 - fixtures and cases
    redis_url: str, upstream: Upstream, tmp_path: Path, field: str, value: str, client: str, scheme: str
) -> None:
    """R-57, R-205: another one may be the client's own."""
    server = {"trusted_proxies": ["127.0.0.0/8"], "forwarded_from": field}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, server=server)) as node:
        others = "".join(f"{name}: 6.6.6.6\r\n" for name in ("X-Forwarded-For", "X-Client-Ip"))
        assert (await node.get("/open", f"{field}: {value}\r\n{others}")).status == 200
    (request,) = upstream.requests
    assert request.values("x-forwarded-for") == [client]
    assert request.value("x-forwarded-proto") == scheme
    assert b"6.6.6.6" not in request.raw


@pytest.mark.parametrize(
    ("protocols", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("wss", "https"),
        ("ws", "http"),
        ("http", "http"),
        ("gopher", "http"),
        ("", "http"),
        ("https, http", "https"),
        ("http, https", "http"),
        ("https\r\nX-Forwarded-Proto: http", "https"),
        ("https, https, http", "http"),
    ],
)
async def test_the_protocol_is_that_of_the_hop_that_names_the_client(
    redis_url: str, upstream: Upstream, tmp_path: Path, protocols: str, scheme: str
) -> None:
    """R-57, R-205: Traefik says `wss` of a handshake; a list that has no entry for each hop counts from the right."""
    server = {"trusted_proxies": ["127.0.0.0/8"]}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, server=server)) as node:
        fields = f"X-Forwarded-For: 203.0.113.9, 127.0.0.2\r\nX-Forwarded-Proto: {protocols}\r\n"
        assert (await node.get("/open", fields)).status == 200
    (request,) = upstream.requests
    assert request.values("x-forwarded-proto") == [scheme]


@pytest.mark.parametrize(("believed", "host"), [(False, "shop.example"), (True, "front.example")])
async def test_a_proxys_host_is_believed_where_that_is_switched_on(
    redis_url: str, upstream: Upstream, tmp_path: Path, *, believed: bool, host: str
) -> None:
    """R-205."""
    server = {"trusted_proxies": ["127.0.0.0/8"], "forwarded_host": believed}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, server=server)) as node:
        fields = "X-Forwarded-Host: front.example:443\r\nX-Forwarded-Proto: https\r\n"
        assert (await node.get("/open", fields)).status == 200
    (request,) = upstream.requests
    assert request.values("x-forwarded-host") == [host]


async def test_an_unlisted_peer_that_says_where_requests_come_from_is_reported(node: Node) -> None:
    """R-205: every client behind it counts as one, and nothing else would tell."""
    before = await node.get("/readyz")
    assert before.json["checks"]["proxies"] == "ok"
    assert (await node.get("/open", "X-Forwarded-For: 203.0.113.9\r\n")).status == 200
    node.worker.base.ticker.tick()
    after = await node.get("/readyz")
    assert after.status == 200
    assert after.json["checks"]["proxies"].startswith("warning: ")


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("fields", "request_id", "traceparent", "tracestate"),
    [
        (f"X-Request-Id: front-1.a_B\r\nTraceparent: {TRACE}\r\nTracestate: a=1,b@c=2\r\n", True, True, ["a=1,b@c=2"]),
        (f"Traceparent: {TRACE}\r\nTracestate: a=1\r\nTracestate: b=2\r\n", False, True, ["a=1,b=2"]),
        (f"Traceparent: {TRACE}\r\nTracestate: {'a=' + 'x' * 600}\r\n", False, False, []),
        (f"Traceparent: {TRACE}\r\nTracestate: no member\r\n", False, False, []),
        ("Tracestate: a=1\r\n", False, False, []),
        (f"Traceparent: {TRACE.upper()}\r\nTracestate: a=1\r\n", False, False, []),
        (f"Traceparent: 01{TRACE[2:]}\r\n", False, False, []),
        (f"Traceparent: 00-{'0' * 32}-b7ad6b7169203331-01\r\n", False, False, []),
        (f"Traceparent: {TRACE}\r\nTraceparent: {TRACE}\r\n", False, False, []),
        ("X-Request-Id: a b\r\n", False, False, []),
        (f"X-Request-Id: {'a' * 65}\r\n", False, False, []),
        ("X-Request-Id: a\r\nX-Request-Id: a\r\n", False, False, []),
        ("X-Request-Id: \r\nBaggage: a=1\r\n", False, False, []),
    ],
)
async def test_a_trusted_peers_request_id_and_trace_are_kept_when_well_formed(  # noqa: PLR0913, PLR0917 - as above
    redis_url: str,
    upstream: Upstream,
    tmp_path: Path,
    fields: str,
    request_id: bool,  # noqa: FBT001 - whether it is kept
    traceparent: bool,  # noqa: FBT001 - as above
    tracestate: list[str],
) -> None:
    """R-212."""
    server = {"trusted_proxies": ["127.0.0.0/8"]}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, server=server)) as node:
        answer = await node.get("/open", fields)
    (request,) = upstream.requests
    shown = request.value("x-request-id")
    assert answer.value("x-request-id") == shown
    assert (shown == "front-1.a_B") is request_id
    assert request_id or len(shown) == 32
    assert (request.value("traceparent") == TRACE) is traceparent
    assert request.values("tracestate") == tracestate
    assert request.values("baggage") == []


async def test_nobody_elses_request_id_or_trace_is_kept(node: Node, upstream: Upstream) -> None:
    """R-212."""
    fields = f"X-Request-Id: mine\r\nTraceparent: {TRACE}\r\nTracestate: a=1\r\nBaggage: a=1\r\n"
    assert (await node.get("/open", fields)).value("x-request-id") != "mine"
    (request,) = upstream.requests
    assert request.value("x-request-id") != "mine"
    assert request.value("traceparent") != TRACE
    assert request.values("tracestate") == request.values("baggage") == []


@pytest.mark.parametrize("protocol", ["h2c", "h2c, websocket", "TLS/1.0", "websocket, h2c", "foo/2", "\t"])
@pytest.mark.parametrize("target", ["/open", "/auth/revoke"])
async def test_an_upgrade_that_is_no_websocket_is_ignored_with_a_body_too(
    node: Node, upstream: Upstream, protocol: str, target: str
) -> None:
    """R-201: Java's client and curl --http2 ask so with every request."""
    fields = f"Upgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n"
    client = await node.connect()
    raw = f"POST {target} HTTP/1.1\r\n{fields}{form}".encode() + HOST + b"\r\ntoken=x"
    await client.send(raw + b"GET /open/2 HTTP/1.1\r\n" + HOST + b"\r\n")
    assert [(await client.message()).status for _ in range(2)] == [200, 200]
    client.close()
    assert all(request.values("upgrade") == request.values("http2-settings") == [] for request in upstream.requests)
    assert upstream.requests[-1].line == "GET /open/2 HTTP/1.1"


async def test_a_websocket_handshake_with_a_body_is_refused(node: Node, upstream: Upstream) -> None:
    """R-91, R-201: what follows could be taken for frames by one side and for a body by the other."""
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n"
    await refused(node, upstream, b"GET /open HTTP/1.1\r\n" + HOST + fields + b"\r\nhi", 400, "upgrade_refused")
