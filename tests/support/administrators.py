"""Helpers that several tests share."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.shop import Shop, bearer


async def ada(shop: Shop) -> dict[str, str]:
    """An administrator's credentials."""
    return bearer(await shop.tokens("ada"))


async def status(shop: Shop, tokens: dict[str, Any], http: httpx.AsyncClient | None = None) -> int:
    """The status of a request for an order with this access token."""
    return (await (http or shop.http).get("/orders", headers=bearer(tokens))).status_code
