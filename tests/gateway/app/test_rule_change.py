"""New rules in a worker that runs: what they reach, what goes on by the former ones, and what refuses them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.cli import keys
from lockgate.errors import ConfigurationError
from lockgate.policy.changes import RestartNeededError
from lockgate.settings import Settings
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import until
from tests.support.sockets import (
    ACCEPTED,
    SocketService,
    closed,
    handshake,
    opened,
    received,
    renewal,
    socket_service,
    socket_settings,
)
from tests.support.streams import EVENT, EVENTS, event, streaming
from tests.support.upstream import OK, Upstream


def changed(node: Node, **sections: Any) -> Settings:  # noqa: ANN401 - any setting
    """The node's configuration in force, with other sections."""
    return Settings(**{**node.worker.base.rules.value.settings.model_dump(), **sections})


async def reload(node: Node, **sections: Any) -> None:  # noqa: ANN401 - any setting
    """Put other sections in force."""
    await node.worker.rule_change.prepare(changed(node, **sections))
    node.worker.rule_change.take()


def other_routes(node: Node, name: str, **changes: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any setting
    """The node's routes, of which one differs."""
    routes = [route.model_dump() for route in node.worker.base.rules.value.settings.route]
    return [{**route, **changes} if route["name"] == name else route for route in routes]


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Upstream]:
    async with upstreams.running(upstreams.manual()) as running:
        yield running


@pytest_asyncio.fixture
async def gateway(redis: Redis, redis_url: str, service: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as running:
        yield running


@pytest_asyncio.fixture
async def sockets() -> AsyncIterator[SocketService]:
    async with socket_service() as running:
        yield running


@pytest_asyncio.fixture
async def door(redis: Redis, redis_url: str, sockets: SocketService, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    async with nodes.running(socket_settings(tmp_path, redis_url, sockets.url)) as running:
        yield running


async def test_a_request_goes_by_the_rules_in_force_when_its_head_has_come(node: Node, upstream: Upstream) -> None:
    """R-290."""
    routes = nodes.routes(upstream.url)
    wiki = {"name": "wiki", "prefix": "/wiki", "service": "orders", "upstreams": [upstream.url], "auth": "public"}
    assert (await node.get("/wiki")).status == 404
    before = (await node.get("/readyz")).json["revision"]
    client = await node.connect()
    await client.send(b"GET /wiki HTTP/1.1\r\nHost: shop.exa")
    await reload(node, route=[*routes, {**wiki, "methods": ["GET"]}])
    await client.send(b"mple\r\n\r\n")
    assert (await client.message()).status == 200
    client.close()
    assert (await node.get("/readyz")).json["revision"] != before
    await reload(node, route=routes)
    assert (await node.get("/wiki")).status == 404
    assert (await node.get("/readyz")).json["revision"] == before


async def test_a_request_in_flight_ends_by_the_rules_of_its_head(gateway: Node, service: Upstream) -> None:
    """R-292: its upstream is drained, not cut."""
    client = await gateway.connect()
    await client.send(f"POST /open HTTP/1.1\r\n{nodes.HOST}Content-Length: 4\r\n\r\nab".encode())
    await until(lambda: any(one.route == "open" for one in gateway.worker.edge.connections))
    waiting = await gateway.connect()
    await waiting.send(f"GET /open HTTP/1.1\r\n{nodes.HOST}\r\n".encode())
    under_way = await service.connection()
    await under_way.message()
    async with upstreams.running(upstreams.recorder()) as other:
        await reload(gateway, route=nodes.routes(other.url)[1:])
        gateway.tick(1)
        await under_way.send(OK)
        assert (await waiting.message()).body == b"ok"
        await client.send(b"cd")
        at_service = await service.connection()
        assert (await at_service.message()).body == b"abcd"
        await at_service.send(OK)
        assert (await client.message()).body == b"ok"
        assert await at_service.read(1) == b""  # no connection to an upstream that is gone is kept
        assert (await gateway.get("/open")).status == 404
        assert (await gateway.get("/maybe")).status == 200
        assert len(other.requests) == 1
    for one in (client, waiting):
        one.close()


async def test_a_connection_to_an_upstream_that_stays_is_kept(node: Node, upstream: Upstream) -> None:
    """R-292."""
    await node.get("/open")
    await reload(node, route=other_routes(node, "profile", timeout_s=3))
    await node.get("/open")
    assert upstream.accepted == 1
    assert len(upstream.requests) == 2


async def test_what_a_breaker_knows_of_an_upstream_that_stays_is_kept(redis_url: str, tmp_path: Path) -> None:
    """R-292."""
    with upstreams.nobody() as url:
        async with nodes.running(nodes.settings(tmp_path, redis_url, url)) as node:
            for _ in range(5):
                assert (await node.get("/open")).code == "upstream_unreachable"
            await reload(node, route=other_routes(node, "profile", timeout_s=3))
            assert (await node.get("/open")).status == 503


async def test_a_socket_whose_route_went_away_is_closed_with_1012(door: Node, sockets: SocketService) -> None:
    """R-293: the client connects again, and is told then what there is."""
    async with opened(door, sockets, door.tokens.token()) as (client, at_service):
        await reload(door, route=other_routes(door, "orders", websocket=[]))
        assert await closed(client) == (1012, "route gone")
        assert (await closed(at_service))[0] == 1012


async def test_a_socket_that_new_rules_ask_more_of_is_closed(door: Node, sockets: SocketService) -> None:
    """R-293: a scope that its token lacks; and a token, where it has none."""
    more = door.tokens.token(sub="r", sid="r", scope="orders:read admin:all")
    async with (
        opened(door, sockets, door.tokens.token()) as (client, _),
        opened(door, sockets, more) as (
            richer,
            at_service,
        ),
        opened(door, sockets, None, path="/ticker") as (anonymous, _),
    ):
        routes = other_routes(door, "orders", scopes={"GET": ["admin:all"]})
        routes[1] = {**routes[1], "auth": "required"}
        await reload(door, route=routes, roles={**nodes.ROLES, "admin": ("admin:all",)})
        assert await closed(client) == (4403, "no longer allowed")
        assert await closed(anonymous) == (4403, "no longer allowed")
        await at_service.send("still here")
        assert await received(richer) == "still here"
        # A renewal is judged by the new rules, too.
        await richer.send(renewal(door.tokens.token(sub="r", sid="r")))
        assert (await closed(richer))[0] == 4401


async def test_a_socket_of_a_page_that_is_listed_no_more_is_closed(door: Node, sockets: SocketService) -> None:
    """R-293."""
    page: Any = "https://shop.example"
    token: Any = f"lockgate.bearer.{door.tokens.token()}"
    async with opened(door, sockets, None, subprotocols=["lockgate", token], origin=page) as (client, _):
        await reload(door, server={"allowed_origins": ["https://other.example"]})
        assert await closed(client) == (4403, "no longer allowed")


async def test_a_socket_that_opens_while_the_rules_change_is_judged_by_the_new_ones(
    redis_url: str, service: Upstream, tmp_path: Path
) -> None:
    """R-293."""
    async with nodes.running(socket_settings(tmp_path, redis_url, service.url)) as node:
        client = await node.connect()
        await client.send(f"{handshake()}{nodes.HOST}{node.tokens.bearer()}\r\n".encode())
        at_service = await service.connection()
        await at_service.message()
        await reload(node, route=other_routes(node, "orders", websocket=[]))
        await at_service.send(ACCEPTED)
        assert (await client.message()).status == 101
        close_frame = await client.rest()
        assert close_frame[2:4] == (1012).to_bytes(2)
        client.close()


async def test_an_event_stream_that_new_rules_forbid_ends_in_order(gateway: Node, service: Upstream) -> None:
    """R-293; one that they allow goes on, and so does a download, which has an end of its own."""
    download = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"
    async with (
        streaming(gateway, service, EVENTS + EVENT, scope="orders:read") as (client, _),
        streaming(gateway, service, EVENTS + EVENT) as (richer, at_service),
        streaming(gateway, service, download, scope="orders:read") as (loading, from_service),
    ):
        await event(client)
        await event(richer)
        await reload(gateway, route=other_routes(gateway, "orders", scopes={"*": ["orders:write"]}))
        assert await client.rest() == b"0\r\n\r\n"
        await at_service.send(EVENT)
        await event(richer)
        await from_service.send(b"def")
        heard = b""
        while not heard.endswith(b"abcdef"):
            heard += await loading.exactly(1)


async def test_a_proxy_that_is_trusted_no_more_is_not_believed_on_an_open_connection(
    node: Node, upstream: Upstream
) -> None:
    """R-291, also the other way."""
    asked = f"GET /open HTTP/1.1\r\n{nodes.HOST}X-Forwarded-For: 203.0.113.9\r\n\r\n".encode()
    client = await node.connect()
    seen = []
    for proxies in ([], ["127.0.0.0/8"], []):
        await reload(node, server={"trusted_proxies": proxies})
        await client.send(asked)
        await client.message()
        seen.append(upstream.requests[-1].value("x-forwarded-for"))
    client.close()
    assert seen == ["127.0.0.1", "203.0.113.9", "127.0.0.1"]


async def test_hosts_origins_limits_and_scopes_are_those_of_the_new_rules(node: Node) -> None:
    """R-291."""
    page = "https://new.example"
    metadata = "/.well-known/oauth-authorization-server"
    assert (await node.get("/open", f"Origin: {page}\r\n")).values("access-control-allow-origin") == []
    await reload(
        node,
        server={"allowed_origins": [page], "allowed_hosts": ["shop.example"]},
        limits={"body_bytes": 3, "own_body_bytes": 2, "target_bytes": 64},
        roles={**nodes.ROLES, "auditor": ("books:read",)},
    )
    assert (await node.get("/open", f"Origin: {page}\r\n")).value("access-control-allow-origin") == page
    assert (await node.ask(b"GET /open HTTP/1.1\r\nHost: foreign.example\r\n")).status == 421
    assert (await node.ask("POST /open HTTP/1.1\r\nContent-Length: 4\r\n", b"abcd")).status == 413
    assert (await node.ask("POST /auth/login HTTP/1.1\r\nContent-Length: 3\r\n", b"abc")).status == 413
    assert (await node.get("/open?" + "x" * 80)).status == 414
    assert "books:read" in (await node.get(metadata)).json["scopes_supported"]


async def test_the_users_service_is_called_at_its_new_address(node: Node, upstream: Upstream) -> None:
    """R-291."""
    login = json.dumps({"username": "alice", "password": "correct-horse-battery"}).encode()
    head = f"POST /auth/login HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(login)}\r\n"
    async with upstreams.running(upstreams.recorder()) as moved:
        await reload(node, upstreams={"users": [moved.url]})
        await node.ask(head, login)
        assert len(moved.requests) == 1
    assert upstream.requests == []


async def test_a_setting_that_needs_a_restart_is_named_and_nothing_is_taken(node: Node) -> None:
    """R-294."""
    revision = node.worker.rule_change.revision
    settings = changed(node, server={"port": 9, "allowed_hosts": ["a.example"]}, token={"access_life_s": 60})
    with pytest.raises(RestartNeededError, match=r"for server\.port, token\.access_life_s"):
        await node.worker.rule_change.prepare(settings)
    node.worker.rule_change.take()
    assert node.worker.rule_change.revision == revision
    assert (await node.get("/open")).status == 200


async def test_a_service_without_a_key_is_refused_until_its_key_is_there(node: Node, upstream: Upstream) -> None:
    """R-294."""
    wiki = {"name": "wiki", "prefix": "/wiki", "upstreams": [upstream.url], "auth": "public", "methods": ["GET"]}
    sections = {"route": [*nodes.routes(upstream.url), wiki]}
    with pytest.raises(ConfigurationError, match="no link to 'wiki'"):
        await node.worker.rule_change.prepare(changed(node, **sections))
    keys.create_missing(changed(node, **sections))
    await reload(node, **sections)
    assert (await node.get("/wiki")).status == 200


async def test_a_route_to_a_dead_name_is_refused_and_the_last_good_one_stays(node: Node, upstream: Upstream) -> None:
    """R-298: also where the accounts lead to it. An address is not looked up, whether or not there is a service."""
    del upstream
    change = node.worker.rule_change
    dead = "http://nowhere.invalid:80"
    with pytest.raises(ConfigurationError) as caught:
        await change.prepare(changed(node, route=nodes.routes(dead), upstreams={"users": [dead]}))
    told = [fault for fault in caught.value.args if fault.endswith(f"{dead}: the name nowhere.invalid has no address")]
    assert told == list(caught.value.args)
    assert {"route 'open'", "service 'users'"} <= {fault.partition(": ")[0] for fault in told}
    change.take()
    assert (await node.get("/open")).status == 200


async def test_a_dead_name_that_is_in_use_holds_up_no_other_change(redis_url: str, tmp_path: Path) -> None:
    """R-298: a service may be away while another one is added."""
    async with nodes.running(nodes.settings(tmp_path, redis_url, "http://nowhere.invalid:80")) as node:
        await reload(node, server={"allowed_hosts": ["a.example"]})
        assert node.worker.base.rules.value.settings.server.allowed_hosts == ("a.example",)


async def test_what_was_prepared_and_dropped_changes_nothing(node: Node, upstream: Upstream) -> None:
    """R-294."""
    del upstream
    with upstreams.nobody() as url:
        await node.worker.rule_change.prepare(changed(node, route=nodes.routes(url)))
        node.worker.rule_change.drop()
        node.worker.rule_change.take()
    assert (await node.get("/open")).status == 200


async def test_a_refused_configuration_shows_on_readyz_and_in_the_metrics(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """R-295: the log names what no client may read."""
    node.worker.rule_change.note_refused("/etc/secret.toml: not valid", "it was refused")
    ready = await node.get("/readyz")
    revision = node.worker.rule_change.revision
    assert ready.status == 200
    assert ready.json["checks"]["rules"] == f"warning: it was refused; the rules of revision {revision} are in use"
    assert "/etc/secret.toml: not valid" in caplog.text
    await reload(node, route=other_routes(node, "profile", timeout_s=3))
    assert (await node.get("/readyz")).json["checks"]["rules"] == "ok"
    text = node.worker.observability.metrics.render_text().decode()
    assert f'lockgate_rules_info{{revision="{node.worker.rule_change.revision}"}} 1.0' in text
    assert 'lockgate_reloads_total{outcome="taken"} 1.0' in text
    assert 'lockgate_reloads_total{outcome="refused"} 1.0' in text
