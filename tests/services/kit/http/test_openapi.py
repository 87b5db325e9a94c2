"""Requests made up from each service's own description, and what must hold for every answer to them.

Schemathesis speaks HTTP to a real server; a front like the gateway signs whatever it sends, so that all of it reaches
the service.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import pytest
import schemathesis
import uvicorn
from schemathesis.specs.openapi.checks import negative_data_rejection

from lockgate_shop.kit.http.openapi import PATH
from lockgate_shop.orders.app import create_app as create_orders
from lockgate_shop.orders.settings import OrdersSettings
from lockgate_shop.products.app import create_app as create_products
from lockgate_shop.products.settings import ProductsSettings
from lockgate_shop.users.app import create_app as create_users
from lockgate_shop.users.settings import UsersSettings
from lockgate_trust import LinkKey
from lockgate_trust.headers import CONTENT_DIGEST, IDENTITY_HEADERS, SIGNATURE, SIGNATURE_INPUT
from lockgate_trust.testing import identity_headers
from tests.support.openapi import checks, operations, try_out
from tests.support.peers import NO_AUTHORITY, Links, Peer, Who, problem
from tests.support.s3 import S3Settings, nanio
from tests.support.shop_calls import KETTLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from schemathesis.schemas import BaseSchema
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REFUSED_ANYWHERE: Final = frozenset({400, 404, 405, 413, 415})
"""What `default` stands for in the documents."""
CHECKS: Final = checks(REFUSED_ANYWHERE, negative_data_rejection)
EXAMPLES: Final = 15


@dataclass
class AsTheGateway:
    """An ASGI app that signs each request in the name of one user, and hands it to a service.

    What another service has signed already is handed on as it is.
    """

    app: ASGIApp
    key: LinkKey
    who: Who = Who()  # noqa: RUF009 - frozen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = {name.decode("latin-1").lower() for name, _ in scope.get("headers", ())}
        if scope["type"] != "http" or {SIGNATURE, SIGNATURE_INPUT} <= named:
            await self.app(scope, receive, send)
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        signed = identity_headers(
            self.key,
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            body=body,
            user=self.who.user_id,
            roles=self.who.roles,
            scopes=self.who.scopes,
        )
        # The gateway drops what only it may set; made-up requests have such names now and then.
        reserved = {*IDENTITY_HEADERS, CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT}
        others = [field for field in scope["headers"] if field[0].decode("latin-1").lower() not in reserved]
        headers = [*others, *((name.lower().encode(), value.encode()) for name, value in signed)]
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self.app({**scope, "headers": headers}, replay, send)


@contextlib.contextmanager
def in_a_thread(app: ASGIApp) -> Iterator[str]:
    """An app behind a real server, for a client that blocks; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def described(app: FastAPI, links: Links, service: str, *, scopes: frozenset[str]) -> Iterator[BaseSchema]:
    """The service's own document, of a server that is running and knows one user."""
    front = AsTheGateway(app, links.of("gateway").outbound(service))
    with in_a_thread(front) as url, httpx.Client(base_url=url, trust_env=False, verify=NO_AUTHORITY) as http:
        document = http.get(PATH).json()
        account = {"username": "carol", "password": "a-long-enough-one"}
        user_id = http.post("/users/register", json=account).json()["id"] if service == "users" else "user-id"
        front.who = Who(user_id, scopes=scopes)
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=url)
        yield schema


@dataclass
class Given:
    """What the services under test share."""

    folder: Path
    links: Links
    s3: S3Settings

    def database(self, service: str) -> str:
        return f"sqlite:///{self.folder}/{service}.db"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    folder = tmp_path_factory.mktemp("openapi")
    app, keys = nanio(folder / "s3")
    with in_a_thread(app) as url:
        yield Given(folder, Links(folder / "links"), {"s3_endpoint": url, **keys})


@pytest.fixture(scope="module")
def users_schema(shared: Given) -> Iterator[BaseSchema]:
    settings = UsersSettings(database_url=shared.database("users"), **shared.s3)
    app = create_users(settings, shared.links.of("users"))
    with described(app, shared.links, "users", scopes=frozenset()) as schema:
        yield schema


@pytest.fixture(scope="module")
def products_schema(shared: Given) -> Iterator[BaseSchema]:
    settings = ProductsSettings(database_url=shared.database("products"), **shared.s3)
    app = create_products(settings, shared.links.of("products"))
    with described(app, shared.links, "products", scopes=frozenset({"products:write"})) as schema:
        yield schema


@pytest.fixture(scope="module")
def orders_schema(shared: Given, redis_url: str) -> Iterator[BaseSchema]:
    """Of an orders service that calls a products service with a product that all made-up requests are about."""
    selling = ProductsSettings(database_url=shared.database("sold"))
    products = create_products(selling, shared.links.of("products"))
    front = AsTheGateway(products, shared.links.of("gateway").outbound("products"))
    front.who = Who("seller-id", scopes=frozenset({"products:write"}))
    with in_a_thread(front) as url:
        product = httpx.post(f"{url}/products", json=KETTLE, trust_env=False).json()["id"]
        settings = OrdersSettings(
            database_url=shared.database("orders"), redis_url=redis_url, products_url=url, **shared.s3
        )
        app = create_orders(settings, shared.links.of("orders"))
        for schema in app.openapi()["components"]["schemas"].values():
            if "product_id" in schema.get("properties", {}):
                schema["properties"]["product_id"]["examples"] = [product]
        with described(app, shared.links, "orders", scopes=frozenset()) as schema:
            yield schema


@pytest.mark.slow
def test_users_answers_whatever_is_made_up_as_it_is_described(users_schema: BaseSchema) -> None:
    assert try_out(operations(users_schema), CHECKS, examples=EXAMPLES) > 10


@pytest.mark.slow
def test_products_answers_whatever_is_made_up_as_it_is_described(products_schema: BaseSchema) -> None:
    assert try_out(operations(products_schema), CHECKS, examples=EXAMPLES) > 10


@pytest.mark.slow
def test_orders_answers_whatever_is_made_up_as_it_is_described(orders_schema: BaseSchema) -> None:
    assert try_out(operations(orders_schema), CHECKS, examples=EXAMPLES) > 10


async def test_only_the_gateway_reads_the_description(products: Peer, buyer: Peer) -> None:
    answer = await products.call("GET", PATH)
    assert answer.json()["openapi"].startswith("3.1")
    refused = await buyer.call("GET", PATH)
    assert (refused.status_code, problem(refused)["code"]) == (403, "link_refused")


def test_each_operation_says_what_it_is_and_has_a_name_of_its_own(
    users_app: FastAPI, products_app: FastAPI, orders_settings: OrdersSettings, links: Links
) -> None:
    for app in (users_app, products_app, create_orders(orders_settings, links.of("orders"))):
        operations = [each for methods in app.openapi()["paths"].values() for each in methods.values()]
        names = [operation["operationId"] for operation in operations]
        assert len(set(names)) == len(names)
        assert all(operation["description"] for operation in operations)
