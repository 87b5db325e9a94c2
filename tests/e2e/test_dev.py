"""`lockgate dev` as its user meets it: its output is pasted into a shell; it is killed, stopped and started again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from lockgate_shop.products.demo import product_id
from lockgate_shop.users.demo import PASSWORD
from tests.support.commands import Ending
from tests.support.stack import STOP_WITHIN_S, listens, running_stack, started_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow]

WITHIN_S: Final = 20
PEN: Final = str(product_id("Fountain pen, steel nib"))
NOTEBOOK: Final = str(product_id("Field notebook, dotted"))
AFTER_EACH: Final = "\x1e"
"""What the shell is made to print between the answers of two lines."""


@contextlib.contextmanager
def browsing(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=WITHIN_S, trust_env=False) as http:
        yield http


def tokens_of(http: httpx.Client, username: str = "bob") -> dict[str, Any]:
    """Log in, and go on as this user."""
    answer = http.post("/auth/login", json={"username": username, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    http.headers["authorization"] = f"Bearer {found['access_token']}"
    return found


def orders_of(http: httpx.Client) -> list[str]:
    answer = http.get("/orders")
    assert answer.status_code == 200, answer.text
    return [order["id"] for order in answer.json()["items"]]


def ordered(http: httpx.Client) -> str:
    answer = http.post("/orders", json={"items": [{"product_id": PEN, "quantity": 1}]})
    assert answer.status_code == 201, answer.text
    order_id: str = answer.json()["id"]
    return order_id


def pasted(lines: list[str]) -> list[str]:
    """The output of each line when all are pasted into one shell, one after another."""
    bash = shutil.which("bash")
    if bash is None or shutil.which("curl") is None:
        pytest.skip("bash or curl is not installed")
    typed = "".join(f"{line}\nprintf '{AFTER_EACH}'\n" for line in lines)
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(  # noqa: S603 - what our own program printed
        [bash, "--norc", "--noprofile"],
        input=typed,
        env=env,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split(AFTER_EACH)[:-1]


def test_the_lines_that_are_printed_for_pasting_do_what_is_said_beside_them(stack: Stack) -> None:
    """R-149 (the last line): the token is refused by the next request."""
    lines = [line for line in stack.said.splitlines() if line.startswith(("curl ", "TOKEN=$("))]
    looked, logged_in, in_cart, bought, upload, revoked = pasted(lines)
    assert NOTEBOOK in {product["id"] for product in json.loads(looked)["items"]}
    assert logged_in == "", "the token is kept, and not shown"
    cart, end = json.JSONDecoder().raw_decode(in_cart)
    quote = json.loads(in_cart[end:])
    assert cart["items"] == [{"product_id": NOTEBOOK, "quantity": 2}]
    order = json.loads(bought)
    assert (order["status"], order["total"]) == ("placed", quote["total"])
    assert [(line["product_id"], line["quantity"]) for line in order["items"]] == [(NOTEBOOK, 2)]
    assert json.loads(upload)["put"]["method"] == "PUT"
    head, _, body = revoked.replace("\r\n", "\n").partition("\n\n")
    assert head.startswith("HTTP/1.1 401 ")
    assert json.loads(body)["code"] == "invalid_token"
    with browsing(stack) as http:
        tokens_of(http, "alice")
        assert http.get(f"/orders/{order['id']}").json() == order
        assert http.get("/orders/cart").json() == {"items": []}


def test_two_stacks_side_by_side_have_nothing_in_common(stack: Stack, tmp_path: Path) -> None:
    """R-207, for the second one: a stack gets ready where its own address is no host that it serves."""
    hosts = {"LOCKGATE_SERVER__ALLOWED_HOSTS": "api.example"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = running_stack(tmp_path, "--port", str(port), **hosts)
    with started as second, browsing(stack) as here, browsing(second) as there:
        assert second.url == f"http://127.0.0.1:{port}"
        assert there.get("/products").status_code == 421
        there.headers["host"] = "api.example"
        tokens = tokens_of(here)
        placed = ordered(here)
        assert there.get("/orders", headers=dict(here.headers)).status_code == 401, "a token of the first stack"
        assert there.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 400
        tokens_of(there)
        assert orders_of(there) == []
        assert placed in orders_of(here)
    with browsing(stack) as here:
        assert here.get("/readyz").status_code == 200, "the first stack goes on when the second has stopped"


def test_what_a_killed_stack_was_told_is_there_when_it_is_started_again_and_ctrl_c_is_a_clean_end(
    tmp_path: Path,
) -> None:
    """`kill -9` of the first process leaves nothing behind, and logs no user out."""
    with started_stack(tmp_path) as (process, killed), browsing(killed) as http:
        tokens = tokens_of(http)
        placed = ordered(http)
        started = killed.processes()
        assert len(started) >= len({"redis", "objects", "users", "orders", "orders-worker", "products", "gateway"})
        ending = Ending(*started)
        process.kill()
        assert ending.survivors(within_s=STOP_WITHIN_S) == set()
        assert not listens(killed.url)

    with at_a_terminal() as (keyboard, screen), started_stack(tmp_path, terminal=screen) as (process, again):
        with browsing(again) as http:
            fresh = http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
            assert fresh.status_code == 200, fresh.text
            http.headers["authorization"] = f"Bearer {fresh.json()['access_token']}"
            assert orders_of(http) == [placed]
        ending = Ending(*again.processes())
        os.write(keyboard, b"\x03")
        process.communicate(timeout=STOP_WITHIN_S)
        assert process.returncode == 0
        assert ending.survivors(within_s=1) == set()
        assert not listens(again.url)


@contextlib.contextmanager
def at_a_terminal() -> Iterator[tuple[int, int]]:
    """A terminal: the end where a user types, and what a program in its foreground reads."""
    keyboard, screen = os.openpty()
    try:
        yield keyboard, screen
    finally:
        os.close(screen)
        os.close(keyboard)
