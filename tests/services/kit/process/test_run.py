"""The services as processes, started as anybody would, and called over sockets."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from lockgate_shop.products.demo import product_id
from tests.support.peers import Links, Peer, Who
from tests.support.service_processes import PATIENCE_S, environment, running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

ALICE = Who("alice-id", scopes=frozenset({"orders:write"}))


def refused(service: str, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", f"lockgate_shop.{service}", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


async def test_orders_buys_from_products_over_sockets(tmp_path: Path) -> None:
    links = Links(tmp_path / "links")
    kettle = str(product_id("Wool blanket, 140 by 200"))
    with (
        running("products", tmp_path) as (products_url, products_process),
        running("orders", tmp_path, PRODUCTS_URL=products_url) as (orders_url, _),
    ):
        async with (
            httpx.AsyncClient(base_url=orders_url, trust_env=False) as orders_http,
            httpx.AsyncClient(base_url=products_url, trust_env=False) as products_http,
        ):
            orders = Peer(orders_http, links, "gateway", "orders", time.time)
            products = Peer(products_http, links, "gateway", "products", time.time)
            body = {"items": [{"product_id": kettle, "quantity": 3}]}
            answer = await orders.call("POST", "/orders", body, who=ALICE)
            assert answer.status_code == 201, answer.text
            assert answer.json()["total"] == {"amount": 3 * 12900, "currency": "EUR"}
            assert (await products.call("GET", f"/products/{kettle}")).json()["stock"] == 7
            stop(products_process)
            away = await orders.call("POST", "/orders", body, who=ALICE)
            assert (away.status_code, away.json()["code"]) == (503, "upstream_unavailable")
            assert int(away.headers["retry-after"]) >= 1
            history: dict[str, Any] = (await orders.call("GET", "/orders", who=ALICE)).json()
            assert [order["id"] for order in history["items"]] == [answer.json()["id"]]


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    return log


@pytest.mark.parametrize("service", ["users", "orders", "products"])
def test_a_service_that_is_told_to_stop_stops_and_says_so_in_json(service: str, tmp_path: Path) -> None:
    Links(tmp_path / "links")
    with running(service, tmp_path) as (url, process):
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        assert (
            httpx.get(f"{url}/{service}", trust_env=False, headers={"authorization": f"Bearer {uuid4()}"}).status_code
            == 401
        )
        events = [json.loads(line) for line in stop(process).splitlines()]
    assert {event["service"] for event in events} == {service}
    assert events[-1]["event"] == "stopped"
    assert "Bearer" not in str(events)


def one_line(outcome: subprocess.CompletedProcess[str]) -> str:
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1
    return outcome.stderr


def test_a_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    Links(tmp_path / "links")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = one_line(refused("users", environment("users", tmp_path), "--port", port))
    assert f"cannot listen on 127.0.0.1:{port}" in line


def test_missing_link_keys_are_one_clear_line(tmp_path: Path) -> None:
    assert "no link key file" in one_line(refused("orders", environment("orders", tmp_path)))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////dev/null/users.db", "folder"),
        ("sqlite:////proc/users.db", "database"),
        ("postgresql://somebody:hunter2secret@127.0.0.1:1/users", "database cannot be used"),
    ],
)
def test_a_bad_database_is_one_clear_line(tmp_path: Path, url: str, said: str) -> None:
    Links(tmp_path / "links")
    line = one_line(refused("users", environment("users", tmp_path, DATABASE_URL=url), "--port", "0"))
    assert said in line
    assert "hunter2secret" not in line
