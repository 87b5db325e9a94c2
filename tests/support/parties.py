"""OAuth clients with a secret, and their requests."""

from __future__ import annotations

import base64
from typing import Any, Final

import httpx

from tests.support.shop import PASSWORD, Shop, bearer

SCOPES: Final = ("orders:read", "orders:write")
REFUSED: Final = (401, "invalid_client")


class Party:
    """A client with a secret."""

    def __init__(self, shop: Shop, client_id: str, secret: str) -> None:
        self.shop = shop
        self.client_id = client_id
        self.secret = secret

    @property
    def basic(self) -> dict[str, str]:
        """Name and secret in the header."""
        text = base64.b64encode(f"{self.client_id}:{self.secret}".encode()).decode()
        return {"authorization": f"Basic {text}"}

    async def post(self, path: str, **form: str) -> httpx.Response:
        """Call with the secret."""
        return await self.shop.http.post(path, data=form, headers=self.basic)

    async def token(self, **form: str) -> httpx.Response:
        """Ask for a token in its own name."""
        return await self.post("/auth/token", grant_type="client_credentials", **form)

    async def login(self, username: str) -> dict[str, Any]:
        """Log a user in; the session is this client's."""
        content = {"username": username, "password": PASSWORD}
        answer = await self.shop.http.post("/auth/login", json=content, headers=self.basic)
        assert answer.status_code == 200
        tokens: dict[str, Any] = answer.json()
        return tokens


async def registered(shop: Shop, client_id: str = "reports", scopes: tuple[str, ...] = SCOPES) -> Party:
    """Register a client, as an administrator does."""
    admin = bearer(await shop.tokens("ada"))
    content = {"client_id": client_id, "scopes": scopes}
    answer = await shop.http.post("/admin/clients", json=content, headers=admin)
    assert answer.status_code == 201
    return Party(shop, client_id, answer.json()["client_secret"])


async def orders(shop: Shop, tokens: dict[str, Any], method: str = "GET") -> int:
    return (await shop.http.request(method, "/orders", headers=bearer(tokens))).status_code


async def active(party: Party, token: str) -> bool:
    content = (await party.post("/auth/introspect", token=token)).json()
    assert content["active"] or content == {"active": False}
    return bool(content["active"])


async def refresh(shop: Shop, token: str, party: Party | None = None, **form: str) -> httpx.Response:
    """Refresh at the token endpoint."""
    fields = {"grant_type": "refresh_token", "refresh_token": token, **form}
    return await shop.http.post("/auth/token", data=fields, headers=party.basic if party else {})
