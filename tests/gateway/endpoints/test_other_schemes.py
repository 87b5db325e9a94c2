"""Calls that authenticate clients, and credentials that were meant for another reader (R-204)."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.parties import REFUSED, orders, refresh, registered
from tests.support.shop import PASSWORD, Shop, code


@pytest.mark.parametrize("field", [None, "Bearer x.y.z", "Digest x"])
@pytest.mark.parametrize("path", ["/auth/token", "/auth/introspect"])
async def test_a_client_that_used_no_basic_is_not_asked_for_it(shop: Shop, path: str, field: str | None) -> None:
    """R-204, RFC 6749 section 5.2: the browser of a page would open a password box."""
    headers = {} if field is None else {"authorization": field}
    form = {"grant_type": "client_credentials", "token": "x"}
    for secret in ({}, {"client_id": "reports", "client_secret": "wrong"}):
        answer = await shop.http.post(path, data=form | secret, headers=headers)
        assert answer.json()["error"] == "invalid_client"
        assert code(answer) == REFUSED
        assert "www-authenticate" not in answer.headers


STALE = ("Bearer x.y.z", "Bearer", "Bearer x y", "Negotiate YII=", 'Digest a="b", c="d"', "token x", "")


@pytest.mark.parametrize("field", STALE)
async def test_an_old_token_that_comes_along_decides_nothing_where_none_is_read(shop: Shop, field: str) -> None:
    """R-204: a client that adds its token to every request logs in, refreshes, gets tokens and revokes all the same."""
    party, headers = await registered(shop), {"authorization": field}
    post = partial(shop.http.post, headers=headers)
    answer = await post("/auth/login", json={"username": "alice", "password": PASSWORD})
    assert answer.status_code == 200
    answer = await post("/auth/refresh", json={"refresh_token": answer.json()["refresh_token"]})
    assert answer.status_code == 200
    form = {"grant_type": "refresh_token", "refresh_token": answer.json()["refresh_token"]}
    answer = await post("/auth/token", data=form)
    assert answer.status_code == 200
    assert (await post("/auth/revoke", data={"token": answer.json()["access_token"]})).status_code == 200
    assert await orders(shop, answer.json()) == 401
    assert (await shop.http.get("/auth/captcha", headers=headers)).status_code == 200
    secret = {"client_id": "reports", "client_secret": party.secret}
    answer = await post("/auth/token", data={"grant_type": "client_credentials", **secret})
    assert answer.status_code == 200
    # Only there the caller might have meant to authenticate with it.
    answer = await post("/auth/introspect", data={"token": "x", **secret})
    assert answer.status_code == (200 if not field else 400 if field == "Bearer" else 401)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("x.y.z", (400, "malformed_credentials")),
        ("null", (400, "malformed_credentials")),
        ("Bearer x.y.z, Basic eDp5", (400, "repeated_credentials")),
        ("Basic eDp5, Bearer x.y.z", (400, "repeated_credentials")),
        ("Basic eDp5", REFUSED),
        ("Basic", REFUSED),
    ],
)
@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/token", "/auth/revoke"])
async def test_what_was_sent_to_be_a_client_never_ends_as_nobody(
    shop: Shop, path: str, field: str, expected: tuple[int, str]
) -> None:
    """R-204, R-148: a wrong Basic, no scheme, two credentials; nothing has happened."""
    tokens = await shop.tokens("alice")
    body = {
        "/auth/login": {"username": "alice", "password": PASSWORD},
        "/auth/refresh": {"refresh_token": tokens["refresh_token"]},
        "/auth/token": {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
        "/auth/revoke": {"token": tokens["access_token"]},
    }[path]
    sent = {"data": body} if path == "/auth/token" else {"json": body}
    answer = await shop.http.post(path, headers={"authorization": field}, **sent)  # type: ignore[arg-type]
    assert code(answer) == expected
    assert await orders(shop, tokens) == 200
    assert (await refresh(shop, tokens["refresh_token"])).status_code == 200
