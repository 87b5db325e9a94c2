"""What the kit asks of an S3 store, against two real ones that verify each signature: nanio and SeaweedFS."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from lockgate_shop.kit.data.objects import ObjectSettings, ObjectStore, StoredObject
from lockgate_shop.kit.errors import ConfigurationError, StoreUnavailableError
from lockgate_shop.kit.settings import read_settings
from tests.support.peers import NO_AUTHORITY, closed_port
from tests.support.s3 import bucket_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.s3 import S3Bucket, S3Settings, Seaweed

PICTURE = b"\x89PNG and so on"


@pytest.fixture(params=["nanio", "seaweedfs"])
async def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[S3Bucket]:
    """An empty bucket; every test that has one runs on both servers."""
    if request.param == "seaweedfs":
        server: Seaweed = request.getfixturevalue("seaweed")
        yield server.new_bucket()
        return
    async with bucket_in(tmp_path / "s3") as made:
        yield made


@pytest.fixture
async def store(bucket: S3Bucket) -> AsyncIterator[ObjectStore]:
    made = ObjectStore(ObjectSettings(**bucket.settings))
    yield made
    await made.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client that knows nothing of keys."""
    async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITY) as client:
        yield client


async def test_what_was_signed_can_be_stored_and_is_there(store: ObjectStore, http: httpx.AsyncClient) -> None:
    assert await store.head_object("a/picture") is None
    put = await store.presign_put("a/picture", content_type="image/png", content_length=len(PICTURE), expires_s=60)
    assert (await http.put(put.url, content=PICTURE, headers=put.headers)).status_code == 200
    assert await store.head_object("a/picture") == StoredObject(len(PICTURE), "image/png")
    got = await http.get(await store.presign_get("a/picture", expires_s=60))
    assert (got.content, got.headers["content-type"]) == (PICTURE, "image/png")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(PICTURE + b"!", "image/png"), (PICTURE[:-1], "image/png"), (PICTURE, "text/html"), (PICTURE, "")],
)
async def test_another_size_or_type_than_the_signed_one_is_not_stored(
    store: ObjectStore, http: httpx.AsyncClient, bucket: S3Bucket, content: bytes, content_type: str
) -> None:
    put = await store.presign_put("a/picture", content_type="image/png", content_length=len(PICTURE), expires_s=60)
    answer = await http.put(put.url, content=content, headers={"Content-Type": content_type})
    assert answer.status_code == 403
    assert bucket.keys() == set()


@pytest.mark.parametrize(("old", "new"), [("/a/picture", "/a/other"), ("Expires=60", "Expires=6000")])
async def test_a_signed_address_is_good_for_nothing_else(
    store: ObjectStore, http: httpx.AsyncClient, bucket: S3Bucket, old: str, new: str
) -> None:
    put = await store.presign_put("a/picture", content_type="image/png", content_length=len(PICTURE), expires_s=60)
    assert old in put.url
    answer = await http.put(put.url.replace(old, new), content=PICTURE, headers=put.headers)
    assert answer.status_code == 403
    assert bucket.keys() == set()


async def test_an_object_can_be_put_moved_and_deleted(store: ObjectStore, bucket: S3Bucket) -> None:
    await store.put_object("incoming/1", PICTURE, content_type="image/png")
    assert await store.move_object("incoming/1", "kept/1")
    assert bucket.keys() == {"kept/1"}
    assert await store.head_object("kept/1") == StoredObject(len(PICTURE), "image/png")
    await store.delete_object("kept/1")
    await store.delete_object("kept/1")
    assert bucket.keys() == set()
    assert not await store.move_object("incoming/1", "kept/1")


async def test_a_download_says_under_which_name_to_save_it(store: ObjectStore) -> None:
    url = await store.presign_get("a", expires_s=60, download_as='r\u00e9sum\u00e9 "1"; x.pdf')
    disposition = parse_qs(urlsplit(url).query)["response-content-disposition"]
    assert disposition == ["attachment; filename*=UTF-8''r%C3%A9sum%C3%A9%20%221%22%3B%20x.pdf"]


async def test_addresses_are_signed_for_the_host_that_clients_use(bucket: S3Bucket) -> None:
    settings = ObjectSettings(**bucket.settings, s3_public_endpoint="https://files.example.com")
    store = ObjectStore(settings)
    signed = await store.presign_get("a", expires_s=60)
    assert signed.startswith(f"https://files.example.com/{bucket.s3_bucket}/a?")
    await store.put_object("a", PICTURE, content_type="image/png")
    assert bucket.keys() == {"a"}
    await store.close()


async def test_a_store_that_is_away_refuses_us_or_is_not_configured_is_one_error(bucket: S3Bucket) -> None:
    away: S3Settings = {**bucket.settings, "s3_endpoint": f"http://127.0.0.1:{closed_port()}"}
    wrong_key: S3Settings = {**bucket.settings, "s3_secret_key": "another"}
    nothing: S3Settings = {}
    for settings in (away, wrong_key, nothing):
        store = ObjectStore(ObjectSettings(**settings))
        with pytest.raises(StoreUnavailableError) as refused:
            await store.head_object("a")
        assert "another" not in str(refused.value)
        await store.close()


@pytest.mark.parametrize(
    "given",
    [
        {"s3_access_key": "only-one"},
        {"s3_endpoint": "ftp://store"},
        {"s3_endpoint": "http://store/path"},
        {"s3_bucket": "No Bucket"},
        {"s3_region": ""},
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        read_settings(ObjectSettings, **given)
