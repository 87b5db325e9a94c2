"""Requests made up from each service's own description, and what must hold for every answer to them.

Schemathesis speaks HTTP to a real server; a front like the gateway signs whatever it sends, so that all of it reaches
the service.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.kit.openapi import PATH
from services.products.app import create_app as create_products
from services.products.settings import ProductsSettings
from services.users.app import create_app as create_users
from services.users.settings import UsersSettings
from tests.services.rig import Links, Peer, Who, problem
from tests.support.s3 import nanio
from trust import LinkKey, signed_headers, token_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from schemathesis import Case
    from schemathesis.schemas import BaseSchema
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
]
THOROUGH: Final = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@dataclass
class AsTheGateway:
    """An ASGI app that signs each request in the name of one user, and hands it to a service."""

    app: ASGIApp
    key: LinkKey
    who: Who = Who()  # noqa: RUF009 - frozen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        identity = token_headers(user_id=self.who.user_id, roles=self.who.roles, scopes=self.who.scopes, on_behalf=None)
        signed = signed_headers(
            self.key,
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=[("x-request-id", "request-1"), *identity],
            body=body or None,
            now=time.time(),
        )
        headers = [*scope["headers"], *((name.lower().encode(), value.encode()) for name, value in signed)]
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
    with in_a_thread(front) as url, httpx.Client(base_url=url, trust_env=False) as http:
        document = http.get(PATH).json()
        account = {"username": "carol", "password": "a-long-enough-one"}
        user_id = http.post("/users/register", json=account).json()["id"] if service == "users" else "user-id"
        front.who = Who(user_id, scopes=scopes)
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=url)
        yield schema


@pytest.fixture(scope="module")
def made_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Links, and the settings that all services share."""
    folder = tmp_path_factory.mktemp("openapi")
    app, keys = nanio(folder / "s3")
    with in_a_thread(app) as url:
        yield {"folder": folder, "links": Links(folder / "links"), "s3": {"s3_endpoint": url, **keys}}


@pytest.fixture(scope="module")
def users_schema(made_of: dict[str, Any]) -> Iterator[BaseSchema]:
    given = UsersSettings(database_url=f"sqlite:///{made_of['folder']}/users.db", **made_of["s3"])
    app = create_users(given, made_of["links"].of("users"))
    with described(app, made_of["links"], "users", scopes=frozenset()) as schema:
        yield schema


@pytest.fixture(scope="module")
def products_schema(made_of: dict[str, Any]) -> Iterator[BaseSchema]:
    given = ProductsSettings(database_url=f"sqlite:///{made_of['folder']}/products.db", **made_of["s3"])
    app = create_products(given, made_of["links"].of("products"))
    with described(app, made_of["links"], "products", scopes=frozenset({"products:write"})) as schema:
        yield schema


def try_out(schema: BaseSchema) -> int:
    """Make up requests for each operation and look at the answers; how many operations there were."""
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    for operation in operations:
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @THOROUGH
            def ask(case: Case[Any]) -> None:
                case.call_and_validate(checks=CHECKS)

            with contextlib.suppress(Unsatisfiable):  # nothing about it can be wrong
                ask()
    return len(operations)


def test_users_answers_whatever_is_made_up_as_it_is_described(users_schema: BaseSchema) -> None:
    assert try_out(users_schema) > 10


def test_products_answers_whatever_is_made_up_as_it_is_described(products_schema: BaseSchema) -> None:
    assert try_out(products_schema) > 10


async def test_only_the_gateway_reads_the_description(products: Peer, buyer: Peer) -> None:
    answer = await products.call("GET", PATH)
    assert answer.json()["openapi"].startswith("3.1")
    refused = await buyer.call("GET", PATH)
    assert (refused.status_code, problem(refused)["code"]) == (403, "link_refused")


def test_each_operation_says_what_it_is_and_has_a_name_of_its_own(users_app: FastAPI, products_app: FastAPI) -> None:
    for app in (users_app, products_app):
        operations = [each for methods in app.openapi()["paths"].values() for each in methods.values()]
        names = [operation["operationId"] for operation in operations]
        assert len(set(names)) == len(names)
        assert all(operation["description"] for operation in operations)
