"""Images of products, against a real S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from tests.support.peers import NO_AUTHORITY, NOBODY, Peer, Who, problem
from tests.support.shop_calls import ADMIN, READER, added

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.s3 import Bucket

PICTURE = b"\x89PNG and so on"
IMAGE = {"content_type": "image/png", "size": len(PICTURE)}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client with no keys and no credentials."""
    async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITY) as client:
        yield client


@pytest.fixture
async def path(products: Peer) -> str:
    """Of a product."""
    return f"/products/{(await added(products))['id']}"


async def image_of(products: Peer, path: str) -> str | None:
    """As everybody sees it, perhaps from the cache."""
    members: dict[str, Any] = (await products.call("GET", path)).json()
    found: str | None = members["image"]
    return found


async def stored(products: Peer, http: httpx.AsyncClient, path: str) -> str:
    answer = await products.call("POST", f"{path}/image/uploads", IMAGE, who=ADMIN)
    assert answer.status_code == 201, answer.text
    put = answer.json()["put"]
    headers = {"Content-Type": put["headers"]["Content-Type"]}
    assert (await http.put(put["url"], content=PICTURE, headers=headers)).status_code == 200
    return f"{path}/image/uploads/{answer.json()['id']}/confirm"


async def test_an_image_is_shown_to_everybody_once_it_is_confirmed(
    products: Peer, http: httpx.AsyncClient, path: str
) -> None:
    confirm = await stored(products, http, path)
    assert await image_of(products, path) is None
    assert (await products.call("GET", f"{path}/image")).status_code == 404

    assert (await products.call("POST", confirm, who=ADMIN)).json()["status"] == "confirmed"
    where, _, query = str(await image_of(products, path)).partition("?")
    shown = await products.call("GET", where, query=query)
    assert shown.status_code == 302
    picture = await http.get(shown.headers["location"])
    assert (picture.content, picture.headers["content-type"]) == (PICTURE, "image/png")


async def test_another_image_takes_its_place_and_a_removed_one_is_gone(
    products: Peer, http: httpx.AsyncClient, path: str, bucket: Bucket
) -> None:
    seen = {await image_of(products, path)}
    for _ in range(2):
        await products.call("POST", await stored(products, http, path), who=ADMIN)
        seen.add(await image_of(products, path))
    assert len(seen) == 3
    assert len(bucket.keys()) == 1
    assert (await products.call("DELETE", f"{path}/image", who=ADMIN)).status_code == 204
    assert await image_of(products, path) is None
    assert bucket.keys() == set()
    assert (await products.call("DELETE", f"{path}/image", who=ADMIN)).status_code == 404


@pytest.mark.parametrize(("who", "status"), [(NOBODY, 401), (READER, 403)])
async def test_only_the_scope_lets_change_an_image(
    products: Peer, http: httpx.AsyncClient, path: str, who: Who, status: int
) -> None:
    confirm = await stored(products, http, path)
    begin = await products.call("POST", f"{path}/image/uploads", IMAGE, who=who)
    assert (begin.status_code, problem(begin)["status"]) == (status, status)
    assert (await products.call("POST", confirm, who=who)).status_code == status
    assert (await products.call("DELETE", f"{path}/image", who=who)).status_code == status
    assert await image_of(products, path) is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"content_type": "image/svg+xml"}, "content_type_refused"),
        ({"content_type": "application/pdf"}, "content_type_refused"),
        ({"size": 10_000_001}, "upload_too_large"),
        ({"size": 0}, "invalid_fields"),
        ({"purpose": "image"}, "invalid_fields"),
    ],
)
async def test_what_is_no_image_is_not_taken(products: Peer, path: str, change: dict[str, object], code: str) -> None:
    answer = await products.call("POST", f"{path}/image/uploads", {**IMAGE, **change}, who=ADMIN)
    assert (answer.status_code, problem(answer)["code"]) == (400, code)


async def test_an_image_belongs_to_one_product(products: Peer, http: httpx.AsyncClient, path: str) -> None:
    confirm = await stored(products, http, path)
    other = f"/products/{(await added(products))['id']}"
    assert (await products.call("POST", confirm.replace(path, other), who=ADMIN)).status_code == 404
    missing = await products.call("POST", f"/products/{uuid4()}/image/uploads", IMAGE, who=ADMIN)
    assert missing.status_code == 404
    assert [await image_of(products, each) for each in (path, other)] == [None, None]


async def test_a_withdrawn_product_shows_and_takes_no_image(products: Peer, http: httpx.AsyncClient, path: str) -> None:
    await products.call("POST", await stored(products, http, path), who=ADMIN)
    await products.call("DELETE", path, who=ADMIN)
    assert (await products.call("GET", f"{path}/image")).status_code == 404
    assert (await products.call("POST", f"{path}/image/uploads", IMAGE, who=ADMIN)).status_code == 404
