from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lockgate.cli import addresses
from lockgate.cli.addresses import Ports
from lockgate.cli.devstack import data_folder
from lockgate.cli.devstack.demo_services import DemoServices
from lockgate.route_settings import RouteSettings
from lockgate.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as claimed:
        yield claimed


@pytest.fixture
def free_port() -> int:
    with addresses.bind_listener(HOST, 0) as found:
        return int(found.getsockname()[1])


def settings(**upstreams: str) -> Settings:
    routes = [RouteSettings(name=name, prefix=f"/{name}", upstreams=(at,)) for name, at in upstreams.items()]
    return Settings(route=tuple(routes))


def silent(*_: str) -> None:
    """Prints nothing."""


def test_a_service_runs_on_the_port_of_its_route_where_that_is_free(ports: Ports, free_port: int) -> None:
    demo = DemoServices.placed(settings(users=f"http://{HOST}:{free_port}"), ports, silent)
    assert demo.places == {"users": (HOST, free_port)}
    assert demo.upstreams == {"LOCKGATE_UPSTREAMS__USERS": f'["http://{HOST}:{free_port}"]'}


def test_a_service_whose_port_is_taken_runs_on_another_one_and_that_is_said(ports: Ports) -> None:
    said: list[str] = []
    with addresses.bind_listener(HOST, 0) as other:
        taken = other.getsockname()[1]
        demo = DemoServices.placed(
            settings(users=f"http://{HOST}:{taken}"), ports, lambda name, text: said.append(f"{name}: {text}")
        )
    _, port = demo.places["users"]
    assert port != taken
    assert said == [f"users: port {taken} is taken, using {port}"]


def test_a_service_that_is_elsewhere_is_not_run_here(ports: Ports, free_port: int) -> None:
    configured = settings(users="http://10.1.2.3:8101", orders=f"http://{HOST}:{free_port}")
    demo = DemoServices.placed(configured, ports, silent)
    assert list(demo.places) == ["orders"]
    assert not demo.complete


def test_a_service_that_runs_partly_elsewhere_is_not_run_here(ports: Ports, free_port: int) -> None:
    configured = Settings(upstreams={"users": (f"http://{HOST}:{free_port}", "http://10.1.2.3:8101")})
    assert DemoServices.placed(configured, ports, silent).places == {}


def test_somebody_elses_service_is_not_ours_to_run(ports: Ports, free_port: int) -> None:
    assert DemoServices.placed(settings(blog=f"http://{HOST}:{free_port}"), ports, silent).places == {}


def test_a_service_is_told_where_the_one_it_calls_is(ports: Ports, free_port: int, tmp_path: Path) -> None:
    configured = settings(orders=f"http://localhost:{free_port}", products="http://10.1.2.3:8103")
    demo = DemoServices.placed(configured, ports, silent)
    with data_folder.open_folder(tmp_path) as folder:
        (orders,) = demo.children(folder, {"ORDERS_DATABASE_URL": "postgresql://theirs"}, seed=False)
    assert demo.links == [("orders", "products")]
    assert orders.env["ORDERS_PRODUCTS_URL"] == "http://10.1.2.3:8103"
    assert orders.env["ORDERS_DATABASE_URL"] == "postgresql://theirs"
    assert orders.argv[-4:] == ("--host", HOST, "--port", str(free_port))


def test_a_service_is_stopped_after_the_one_that_calls_it(ports: Ports, tmp_path: Path) -> None:
    configured = settings(orders=f"http://{HOST}:8102", products=f"http://{HOST}:8103")
    demo = DemoServices.placed(configured, ports, silent)
    with data_folder.open_folder(tmp_path) as folder:
        uses = {child.name: child.uses for child in demo.children(folder, {}, seed=True)}
    assert uses == {"products": frozenset(), "orders": frozenset({"products"})}


def test_where_there_is_a_redis_orders_has_a_worker_with_the_same_settings(ports: Ports, tmp_path: Path) -> None:
    demo = DemoServices.placed(settings(orders=f"http://{HOST}:8102", users=f"http://{HOST}:8101"), ports, silent)
    with data_folder.open_folder(tmp_path) as folder:
        given = {"REDIS_URL": "redis://one", "ORDERS_DATABASE_URL": "postgresql://theirs"}
        made = {child.name: child for child in demo.children(folder, given, seed=True, needs=frozenset({"redis"}))}
    orders, worker, users = made["orders"], made["orders-worker"], made["users"]
    assert worker.env == orders.env
    assert (worker.env["ORDERS_REDIS_URL"], worker.env["ORDERS_DATABASE_URL"]) == ("redis://one", "postgresql://theirs")
    assert "lockgate_shop.orders.worker" in worker.argv
    assert "--seed-demo" not in worker.argv
    assert (worker.needs, orders.needs, orders.uses) == (frozenset({"redis"}), frozenset(), frozenset({"redis"}))
    assert "USERS_REDIS_URL" not in users.env
