"""Tests of the FastAPI service without a gateway: `python -m pytest docs/examples` runs them."""

# ruff: noqa: INP001 - a file to copy, in no package

import pytest
from fastapi.testclient import TestClient
from fastapi_service import create_app

from lockgate_trust import LinkKeys
from lockgate_trust.testing import Fault, make_link_key, signed_in

KEY = make_link_key("gateway", "notes")


@pytest.fixture
def client() -> TestClient:
    """A client without a user."""
    return TestClient(create_app(LinkKeys.from_keys("notes", [KEY])))


def test_a_note_is_read_by_its_user(client: TestClient) -> None:
    alice = signed_in(client, key=KEY, user="alice", roles=["customer"])
    bob = signed_in(client, key=KEY, user="bob")
    assert alice.get("/notes/7?page=2").json() == {"note": "7", "user": "alice", "roles": ["customer"]}
    assert bob.get("/notes/7").json() == {"note": "7", "user": "bob", "roles": []}


def test_a_note_is_written_by_its_user(client: TestClient) -> None:
    alice = signed_in(client, key=KEY, user="alice")
    assert alice.post("/notes", json={"text": "milk"}).json() == {"note": "milk", "user": "alice", "roles": []}


@pytest.mark.parametrize("fault", Fault)
def test_an_identity_without_a_valid_signature_is_refused(client: TestClient, fault: Fault) -> None:
    assert signed_in(client, key=KEY, user="alice", fault=fault).get("/notes/7").status_code == 401


def test_a_request_without_an_identity_is_refused(client: TestClient) -> None:
    assert client.get("/notes/7").status_code == 401
