"""Link keys that change while a service runs."""

import json
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockgate_trust import (
    LinkKey,
    LinkKeyError,
    LinkKeys,
    LiveLinkKeys,
    Verified,
    create_link,
    link_path,
    signed_headers,
    verify,
)
from lockgate_trust.headers import REQUEST_ID
from tests.support.links import NOW

Document = dict[str, Any]


class Clock:
    """Monotonic seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_link(tmp_path, "gateway", "orders")
    create_link(tmp_path, "orders", "products")
    return tmp_path


@pytest.fixture
def orders(folder: Path, clock: Clock) -> LiveLinkKeys:
    return LiveLinkKeys(folder, "orders", clock=clock)


def change(path: Path, edit: Callable[[Document], object]) -> None:
    """Replace a file, as a rotation does."""
    document = json.loads(path.read_text())
    edit(document)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document))
    fresh.chmod(0o600)
    fresh.replace(path)


def appended(document: Document) -> None:
    document["keys"].append({"id": f"{document['target']}.new", "secret": secrets.token_urlsafe(32)})


def promoted(document: Document) -> None:
    document["keys"].reverse()


def accepted(keys: LinkKeys, key: LinkKey) -> bool:
    headers = signed_headers(key, method="GET", path="/", headers=[(REQUEST_ID, "r-1")], now=NOW)
    return isinstance(verify(keys, method="GET", path="/", query="", headers=headers, now=NOW), Verified)


def test_a_changed_file_is_used_within_a_second(folder: Path, orders: LiveLinkKeys, clock: Clock) -> None:
    change(link_path(folder, "gateway", "orders"), appended)
    change(link_path(folder, "orders", "products"), appended)
    change(link_path(folder, "orders", "products"), promoted)
    clock.now = 0.99
    assert orders.inbound("orders.new") is None
    clock.now = 1.0
    assert orders.inbound("orders.new") is not None
    assert orders.outbound("products").key_id == "products.new"


def test_what_either_key_signs_is_accepted_in_every_step_of_a_rotation(
    folder: Path, orders: LiveLinkKeys, clock: Clock
) -> None:
    path = link_path(folder, "gateway", "orders")
    old = LinkKeys.load(folder, "gateway").outbound("orders")
    for step in (appended, promoted):
        change(path, step)
        clock.now += 1
        assert accepted(orders, old)
        assert accepted(orders, LinkKeys.load(folder, "gateway").outbound("orders"))
    change(path, lambda document: document["keys"].pop())
    clock.now += 1
    assert not accepted(orders, old)
    assert accepted(orders, LinkKeys.load(folder, "gateway").outbound("orders"))


def test_a_link_that_is_added_or_removed_is_noticed(folder: Path, orders: LiveLinkKeys, clock: Clock) -> None:
    create_link(folder, "users", "orders")
    clock.now = 1.0
    key = json.loads(link_path(folder, "users", "orders").read_text())["keys"][0]["id"]
    assert orders.inbound(key) is not None
    link_path(folder, "users", "orders").unlink()
    clock.now = 2.0
    assert orders.inbound(key) is None
    assert orders.origins == {"gateway"}


@pytest.mark.parametrize("content", ["{", '{"origin": "gateway", "target": "orders", "keys": []}'])
def test_a_bad_file_keeps_the_last_good_keys_and_is_told_once(
    folder: Path, orders: LiveLinkKeys, clock: Clock, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path = link_path(folder, "gateway", "orders")
    good = path.read_text()
    key = json.loads(good)["keys"][0]
    path.write_text(content)
    for _ in range(3):
        clock.now += 1
        assert orders.inbound(key["id"]) is not None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert str(path) in caplog.text
    assert key["secret"] not in caplog.text
    path.write_text(good)
    change(path, appended)
    clock.now += 1
    assert orders.inbound("orders.new") is not None


def test_a_file_that_others_may_read_is_not_taken(folder: Path, orders: LiveLinkKeys, clock: Clock) -> None:
    path = link_path(folder, "gateway", "orders")
    change(path, appended)
    path.chmod(0o640)
    clock.now = 1.0
    assert orders.inbound("orders.new") is None
    path.chmod(0o600)
    clock.now = 2.0
    assert orders.inbound("orders.new") is not None


def test_what_is_wrong_with_the_files_can_be_asked_for_and_goes_away_when_it_is_mended(
    folder: Path, orders: LiveLinkKeys, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """R-215: also where no request asks for a key."""
    caplog.set_level(logging.INFO, "lockgate.trust")
    path = link_path(folder, "gateway", "orders")
    before = orders.problem
    path.chmod(0o644)
    clock.now = 1.0
    said = orders.problem or ""
    path.chmod(0o600)
    clock.now = 2.0
    assert (before, orders.problem) == (None, None)
    assert said.startswith(f"{path}: readable by others")
    assert said in caplog.text
    assert "reloaded" in caplog.text


def test_files_are_not_read_again_where_they_look_the_same(folder: Path, orders: LiveLinkKeys, clock: Clock) -> None:
    path = link_path(folder, "gateway", "orders")
    before = orders.outbound("products")
    clock.now = 1.0
    assert orders.outbound("products") is before
    os.utime(path)
    clock.now = 2.0
    assert orders.outbound("products") is not before


def test_a_service_without_keys_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(LinkKeyError, match="names orders"):
        LiveLinkKeys(tmp_path, "orders")


def test_notes_about_a_key_mean_nothing_and_other_members_are_refused(folder: Path) -> None:
    path = link_path(folder, "gateway", "orders")
    before = LinkKeys.load(folder, "gateway").outbound("orders")
    change(path, lambda document: document["keys"][0].update(state="passive", since="2026-01-01T00:00:00Z"))
    assert LinkKeys.load(folder, "gateway").outbound("orders") == before
    change(path, lambda document: document["keys"][0].update(algorithm="none"))
    with pytest.raises(LinkKeyError, match="not an object of id and secret"):
        LinkKeys.load(folder, "gateway")
