"""The output of `lockgate dev` on the terminal."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from pathlib import Path

_PASSWORD: Final = "correct-horse-battery"  # noqa: S105 - of the demo users, and public
_PRODUCT: Final = "83499eb6-7278-5c21-81bd-210644ae570f"
"""The dotted field notebook among the demo products."""
_JSON: Final = "-H 'Content-Type: application/json'"


class Terminal:
    """Standard output, one line at a time; the clock starts with this object."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, name: str, text: str) -> None:
        """One line: time, part, text."""
        self._print_line(f"{time.monotonic() - self._started:7.2f} s  {name:<10} {text}")

    def welcome(self, address: str, data: Path, modules: str, *, tour: bool, public: str | None = None) -> None:
        """Tell how to use the stack; the last line is `ready` and the address, for programs that wait for it.

        Args:
            address: where the gateway listens.
            data: the folder of the stack.
            modules: what is compiled.
            tour: whether to print calls to try.
            public: the address that clients use, where one is set: over TLS, a gateway serves no request by number.
        """
        self._print_line(
            f"\n  gateway  {public or address}\n  data     {data}\n  logs     {data / 'logs'}\n  modules  {modules}"
        )
        if tour:
            self._print_line(_print_tour(address))
        self._print_line(f"\nready {address}")

    def _print_line(self, text: str) -> None:
        # The reader of the output may be gone; the stack goes on.
        with contextlib.suppress(OSError):
            typer.echo(text)


def _print_tour(address: str) -> str:
    credentials = f'{{"username":"alice","password":"{_PASSWORD}"}}'
    pick = r"""sed 's/.*"access_token": *"\([^"]*\)".*/\1/'"""
    bearer = '-H "Authorization: Bearer $TOKEN"'
    cart = f'{{"items":[{{"product_id":"{_PRODUCT}","quantity":2}}]}}'
    upload = '{"purpose":"avatar","content_type":"image/png","size":1024}'
    return f"""
  users    alice and bob (customers), admin; password {_PASSWORD}

  Look around; log in and keep the token; fill the cart, see what it costs, and buy it:

curl -s '{address}/products?q=notebook&in_stock=true'; echo
TOKEN=$(curl -s {address}/auth/login {_JSON} -d '{credentials}' | {pick})
curl -s -X PUT {address}/orders/cart {bearer} {_JSON} -d '{cart}'; curl -s {address}/orders/cart/quote {bearer}; echo
curl -s {address}/orders {bearer} {_JSON} -H 'Idempotency-Key: "tour-1"' -d '{{"from_cart":true}}'; echo

  Ask where to store a picture (the answer says how); revoke the token and be refused at once:

curl -s {address}/users/me/uploads {bearer} {_JSON} -d '{upload}'; echo
curl -s {address}/auth/revoke -d "token=$TOKEN"; curl -si {address}/orders {bearer}; echo"""
