"""Tests of the ASGI service without a gateway: `python -m pytest docs/examples` runs them."""

# ruff: noqa: INP001 - a file to copy, in no package

import asyncio

import httpx
import pytest
from asgi_service import create_app

from lockgate_trust import LinkKeys
from lockgate_trust.testing import Fault, make_link_key, signed_in

KEY = make_link_key("gateway", "notes")


def ask(method: str, path: str, fault: Fault | None = None, json: object = None) -> httpx.Response:
    """Send one request of Alice's to the service, in memory."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(LinkKeys.from_keys("notes", [KEY])))
        async with httpx.AsyncClient(transport=transport, base_url="http://notes") as client:
            alice = signed_in(client, key=KEY, user="alice", roles=["customer"], fault=fault)
            return await alice.request(method, path, json=json)

    return asyncio.run(send())


def test_a_note_is_read_by_its_user() -> None:
    assert ask("GET", "/notes/7?page=2").json() == {"note": "7", "user": "alice", "roles": ["customer"]}


def test_a_note_is_written_by_its_user() -> None:
    response = ask("POST", "/notes", json={"text": "milk"})
    assert response.json() == {"note": "milk", "user": "alice", "roles": ["customer"]}


@pytest.mark.parametrize("fault", Fault)
def test_an_identity_without_a_valid_signature_is_refused(fault: Fault) -> None:
    assert ask("GET", "/notes/7", fault).status_code == 401
