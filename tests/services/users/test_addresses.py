from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.support.peers import Peer, Who, problem
from tests.support.shop_calls import registered

if TYPE_CHECKING:
    from tests.support.peers import Clock

HOME = {"name": "Carol K.", "line1": "Hauptstr. 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}
PATH = "/users/me/addresses"


async def a_user(users: Peer, name: str = "carol") -> Who:
    return Who((await registered(users, username=name))["id"])


async def added(users: Peer, who: Who, **fields: object) -> dict[str, Any]:
    answer = await users.call("POST", PATH, {**HOME, **fields}, who=who)
    assert answer.status_code == 201, answer.text
    members: dict[str, Any] = answer.json()
    return members


async def listed(users: Peer, who: Who) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await users.call("GET", PATH, who=who)).json()["items"]
    return items


async def test_addresses_are_added_listed_oldest_first_replaced_and_removed(users: Peer, clock: Clock) -> None:
    who = await a_user(users)
    home = await added(users, who)
    clock.now += 1
    work = await added(users, who, line1="Platz 2", line2="3rd floor", region="Brandenburg")
    assert await listed(users, who) == [home, work]
    assert home["line2"] is None

    replaced = (await users.call("PUT", f"{PATH}/{work['id']}", HOME, who=who)).json()
    assert replaced == {**home, "id": work["id"], "created_at": work["created_at"]}
    assert (await users.call("DELETE", f"{PATH}/{home['id']}", who=who)).status_code == 204
    assert await listed(users, who) == [replaced]


async def test_somebody_elses_address_is_as_good_as_none(users: Peer) -> None:
    carol, mallory = await a_user(users), await a_user(users, "mallory")
    home = await added(users, carol)
    for method, body in (("PUT", HOME), ("DELETE", None)):
        for address in (home["id"], str(uuid4())):
            answer = await users.call(method, f"{PATH}/{address}", body, who=mallory)
            assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")
    assert await listed(users, carol) == [home]
    assert await listed(users, mallory) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"country": "de"},
        {"country": "Germany"},
        {"name": ""},
        {"city": None},
        {"line1": "two\nlines"},
        {"line2": "x" * 121},
        {"postal_code": "x" * 21},
        {"account_id": str(uuid4())},
    ],
)
async def test_an_address_with_a_wrong_field_is_not_kept(users: Peer, wrong: dict[str, object]) -> None:
    who = await a_user(users)
    home = await added(users, who)
    for method, path in (("POST", PATH), ("PUT", f"{PATH}/{home['id']}")):
        answer = await users.call(method, path, {**HOME, **wrong}, who=who)
        assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_fields")
    assert await listed(users, who) == [home]


async def test_an_account_has_at_most_20_addresses(users: Peer) -> None:
    who = await a_user(users)
    for _ in range(20):
        await added(users, who)
    answer = await users.call("POST", PATH, HOME, who=who)
    assert (answer.status_code, problem(answer)["code"]) == (409, "too_many_addresses")
    assert len(await listed(users, who)) == 20


@pytest.mark.parametrize("who", [Who(), Who(str(uuid4())), Who("no-account")])
async def test_addresses_need_an_account(users: Peer, who: Who) -> None:
    for method, body in (("GET", None), ("POST", HOME)):
        answer = await users.call(method, PATH, body, who=who)
        assert answer.status_code == (404 if who.user_id else 401)
