"""Uploads of users, against a real S3 server. The bytes go straight there, as the client of this test does it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from lockgate_shop.users.app import create_app
from lockgate_shop.users.settings import UsersSettings
from tests.support.peers import NO_AUTHORITY, Peer, Who, opened, problem
from tests.support.shop_calls import registered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.databases import Databases
    from tests.support.peers import Clock, Links
    from tests.support.s3 import Bucket

PICTURE = b"\x89PNG and so on"
AVATAR = {"purpose": "avatar", "content_type": "image/png", "size": len(PICTURE)}
REPORT = {"purpose": "file", "content_type": "application/pdf", "size": 4, "filename": "annual report.pdf"}
PATH = "/users/me/uploads"
QUARTER_HOUR = 900


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client with no keys and no credentials."""
    async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITY) as client:
        yield client


@pytest.fixture
async def carol(users: Peer) -> Who:
    return Who((await registered(users))["id"])


async def begun(users: Peer, who: Who, wanted: dict[str, Any] = AVATAR) -> dict[str, Any]:
    answer = await users.call("POST", PATH, wanted, who=who)
    assert answer.status_code == 201, answer.text
    members: dict[str, Any] = answer.json()
    return members


async def put(http: httpx.AsyncClient, upload: dict[str, Any], content: bytes = PICTURE) -> int:
    there = upload["put"]
    headers = {"Content-Type": there["headers"]["Content-Type"]}  # the length is that of the content
    answer = await http.request(there["method"], there["url"], headers=headers, content=content)
    return answer.status_code


async def confirm(users: Peer, who: Who, upload: dict[str, Any]) -> httpx.Response:
    return await users.call("POST", f"{PATH}/{upload['id']}/confirm", who=who)


async def kept(users: Peer, http: httpx.AsyncClient, who: Who, wanted: dict[str, Any] = AVATAR) -> dict[str, Any]:
    upload = await begun(users, who, wanted)
    assert await put(http, upload, PICTURE[: wanted["size"]]) == 200
    assert (await confirm(users, who, upload)).status_code == 200
    return upload


async def listed(users: Peer, who: Who, query: str = "") -> dict[str, Any]:
    answer = await users.call("GET", PATH, who=who, query=query)
    assert answer.status_code == 200, answer.text
    members: dict[str, Any] = answer.json()
    return members


async def profile(users: Peer, who: Who) -> dict[str, Any]:
    members: dict[str, Any] = (await users.call("GET", "/users/me", who=who)).json()
    return members


async def test_an_avatar_is_shown_once_it_is_stored_and_confirmed(
    users: Peer, carol: Who, http: httpx.AsyncClient
) -> None:
    upload = await begun(users, carol)
    assert await put(http, upload) == 200
    assert (await profile(users, carol))["avatar"] is None
    assert (await users.call("GET", "/users/me/avatar", who=carol)).status_code == 404

    confirmed = (await confirm(users, carol, upload)).json()
    assert (confirmed["status"], confirmed["expires_at"]) == ("confirmed", None)
    path, _, query = (await profile(users, carol))["avatar"].partition("?")
    shown = await users.call("GET", path, query=query, who=carol)
    assert shown.status_code == 302
    assert shown.headers["cache-control"].startswith("private")
    picture = await http.get(shown.headers["location"])
    assert (picture.content, picture.headers["content-type"]) == (PICTURE, "image/png")


async def test_confirming_again_and_at_once_changes_nothing(
    users: Peer, carol: Who, http: httpx.AsyncClient, bucket: Bucket
) -> None:
    upload = await begun(users, carol)
    await put(http, upload)
    answers = await asyncio.gather(*(confirm(users, carol, upload) for _ in range(5)))
    answers.append(await confirm(users, carol, upload))
    assert {answer.status_code for answer in answers} == {200}
    assert bucket.keys() == {f"kept/{upload['id']}"}


async def test_what_was_never_stored_cannot_be_confirmed(users: Peer, carol: Who) -> None:
    upload = await begun(users, carol)
    answer = await confirm(users, carol, upload)
    assert (answer.status_code, problem(answer)["code"]) == (409, "not_uploaded")
    assert (await listed(users, carol))["items"][0]["status"] == "pending"
    assert (await profile(users, carol))["avatar"] is None


@pytest.mark.parametrize("content", [PICTURE + b"!", PICTURE[:-1], b""])
async def test_another_size_than_announced_is_refused_by_the_store(
    users: Peer, carol: Who, http: httpx.AsyncClient, bucket: Bucket, content: bytes
) -> None:
    upload = await begun(users, carol)
    assert await put(http, upload, content) == 403
    assert bucket.keys() == set()
    assert (await confirm(users, carol, upload)).status_code == 409


async def test_what_a_careless_store_let_in_is_refused_and_removed(users: Peer, carol: Who, bucket: Bucket) -> None:
    upload = await begun(users, carol)
    (bucket.folder / "incoming").mkdir()
    (bucket.folder / "incoming" / upload["id"]).write_bytes(b"twice as much " * 2)
    answer = await confirm(users, carol, upload)
    assert (answer.status_code, problem(answer)["code"]) == (409, "upload_differs")
    assert bucket.keys() == set()
    assert (await profile(users, carol))["avatar"] is None


async def test_a_confirmed_file_cannot_be_swapped_by_its_old_address(
    users: Peer, carol: Who, http: httpx.AsyncClient, bucket: Bucket
) -> None:
    upload = await kept(users, http, carol)
    other = PICTURE[::-1]
    await put(http, upload, other)
    assert (await confirm(users, carol, upload)).status_code == 200
    assert (bucket.folder / "kept" / upload["id"]).read_bytes() == PICTURE


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"content_type": "image/svg+xml"}, "content_type_refused"),
        ({"content_type": "text/html"}, "content_type_refused"),
        ({"content_type": "image/png; charset=x"}, "content_type_refused"),
        ({"content_type": "IMAGE/PNG"}, "content_type_refused"),
        ({"content_type": "application/pdf"}, "content_type_refused"),
        ({"size": 5_000_001}, "upload_too_large"),
        ({"purpose": "file", "size": 100_000_001}, "upload_too_large"),
        ({"size": 0}, "invalid_fields"),
        ({"size": "13"}, "invalid_fields"),
        ({"purpose": "logo"}, "invalid_fields"),
        ({"filename": "a\r\nb"}, "invalid_fields"),
        ({"key": "kept/1"}, "invalid_fields"),
    ],
)
async def test_what_is_not_taken_is_refused_and_not_listed(
    users: Peer, carol: Who, change: dict[str, object], code: str
) -> None:
    answer = await users.call("POST", PATH, {**AVATAR, **change}, who=carol)
    assert (answer.status_code, problem(answer)["code"]) == (400, code)
    assert (await listed(users, carol))["items"] == []


@pytest.mark.parametrize("wanted", [{**AVATAR, "size": 5_000_000}, {**REPORT, "size": 100_000_000}])
async def test_the_largest_files_are_taken(users: Peer, carol: Who, wanted: dict[str, object]) -> None:
    assert (await begun(users, carol, wanted))["put"]["headers"]["Content-Length"] == str(wanted["size"])


async def test_a_file_is_downloaded_from_the_store_under_its_name(
    users: Peer, carol: Who, http: httpx.AsyncClient
) -> None:
    upload = await begun(users, carol, REPORT)
    assert (await users.call("GET", f"{PATH}/{upload['id']}", who=carol)).json()["download_url"] is None
    await put(http, upload, b"%PDF")
    await confirm(users, carol, upload)
    found = (await users.call("GET", f"{PATH}/{upload['id']}", who=carol)).json()
    assert found["filename"] == "annual report.pdf"
    assert "annual%2520report.pdf" in found["download_url"]
    assert (await http.get(found["download_url"])).content == b"%PDF"


async def test_what_was_not_confirmed_in_time_is_gone(
    users: Peer, carol: Who, http: httpx.AsyncClient, clock: Clock
) -> None:
    late, file = await begun(users, carol), await kept(users, http, carol, REPORT)
    await put(http, late)
    clock.now += QUARTER_HOUR
    answer = await confirm(users, carol, late)
    assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")
    assert [item["id"] for item in (await listed(users, carol))["items"]] == [file["id"]]
    assert (await profile(users, carol))["avatar"] is None


async def test_files_are_listed_newest_first_in_pages(users: Peer, carol: Who, clock: Clock) -> None:
    made = []
    for _ in range(5):
        clock.now += 1
        made.append((await begun(users, carol))["id"])
    first = await listed(users, carol, "limit=3")
    second = await listed(users, carol, f"limit=3&after={first['next']}")
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None


async def test_a_new_avatar_takes_the_place_of_the_old_one(
    users: Peer, carol: Who, http: httpx.AsyncClient, bucket: Bucket
) -> None:
    old = await kept(users, http, carol)
    before = (await profile(users, carol))["avatar"]
    new = await kept(users, http, carol)
    assert (await profile(users, carol))["avatar"] not in {before, None}
    assert bucket.keys() == {f"kept/{new['id']}"}
    assert (await users.call("GET", f"{PATH}/{old['id']}", who=carol)).status_code == 404


async def test_a_removed_avatar_is_neither_shown_nor_stored(
    users: Peer, carol: Who, http: httpx.AsyncClient, bucket: Bucket
) -> None:
    upload = await kept(users, http, carol)
    path = f"{PATH}/{upload['id']}"
    assert (await users.call("DELETE", path, who=carol)).status_code == 204
    assert (await profile(users, carol))["avatar"] is None
    assert bucket.keys() == set()
    assert (await users.call("DELETE", path, who=carol)).status_code == 404


async def test_somebody_elses_file_is_as_good_as_none(
    users: Peer, carol: Who, http: httpx.AsyncClient, bucket: Bucket
) -> None:
    mallory = Who((await registered(users, username="mallory"))["id"])
    file, pending = await kept(users, http, carol), await begun(users, carol)
    await put(http, pending)
    for upload in (file["id"], pending["id"], str(uuid4())):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/confirm")):
            answer = await users.call(method, f"{PATH}/{upload}{path}", who=mallory)
            assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")
    assert (await listed(users, mallory))["items"] == []
    assert bucket.keys() == {f"kept/{file['id']}", f"incoming/{pending['id']}"}


async def test_nobody_has_more_than_20_uploads_under_way(users: Peer, carol: Who, clock: Clock) -> None:
    for _ in range(20):
        await begun(users, carol)
    answer = await users.call("POST", PATH, AVATAR, who=carol)
    assert (answer.status_code, problem(answer)["code"]) == (409, "too_many_uploads")
    clock.now += QUARTER_HOUR
    await begun(users, carol)


async def test_without_object_storage_everything_else_works(databases: Databases, links: Links, clock: Clock) -> None:
    settings = UsersSettings(database_url=await databases.url("users"))
    async with opened(create_app(settings, links.of("users"), clock)) as http:
        users = Peer(http, links, "gateway", "users", clock)
        who = Who((await registered(users))["id"])
        answer = await users.call("POST", PATH, AVATAR, who=who)
        assert (answer.status_code, problem(answer)["code"]) == (503, "store_unavailable")
        assert (await listed(users, who))["items"] == []
