"""Carts: the products that a user thinks of buying, in Redis, for any node to read and change.

Two tabs, two devices and a retried merge may write at once. A hash with one field for each product would let Redis do
the adding, but then the limits, the merge that counts once and the purchase that empties would have to be written in
Lua. So a cart is one JSON text of at most about 4 KB: the quantities, and the ids of the last 32 merges and purchases
that were counted. The rules are plain functions from one cart to the next. A script puts the new text in the place of
the old text if the old text is still there; otherwise the rule is asked again. So no change gets lost: `PATCH` of
different products at once keeps them all, and `PUT` is last-write-wins. A client that wants more sends `If-Match` with
the `ETag`, a digest of the items.

The ids of merges are part of the value, so adding a guest's cart and remembering that it was added are one step. A
purchase does not empty the cart: the bought items are subtracted, so items that were added meanwhile stay.

Twenty changes at once on one cart all succeed. A change takes 5 to 10 ms with its signed request over a socket
(medians of 60, two busy cores).

A cart is gone 30 days after its last change. While Redis is away, carts are 503, and buying with a list of items goes
on. Prices are not in the cart; `GET /orders/cart/quote` asks products. Behind Sentinels an acknowledged change
outlives the master (docs/decisions/0140).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from lockgate_shop.kit.data.redis import is_promising, store_errors, user_hash_tag, write_confirmed
from lockgate_shop.kit.errors import BusyError
from lockgate_shop.kit.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lockgate_common.redis.client import RedisClient

MAX_LINES: Final = 50
MAX_QUANTITY: Final = 1_000
LIFE_S: Final = 30 * 24 * 3600
"""How long a cart is kept after its last change."""
CART_FULL: Final = Problem(409, "cart_full", "There is no room for so many products in one cart")
CART_CHANGED: Final = Problem(412, "cart_changed", "The cart is no longer the one that was read")

_REMEMBERED: Final = 32
"""Merges and purchases that a cart remembers, so that each counts once; more come within 30 days of no one person."""
_TRIES: Final = 64
_SWAP: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True)
class Cart:
    """Quantities (1 to `MAX_QUANTITY`) by product, oldest first, and what has gone into them or out once for all."""

    items: Mapping[UUID, int] = field(default_factory=dict)
    counted: tuple[UUID, ...] = ()

    @property
    def etag(self) -> str:
        """The entity-tag of the items; equal items have an equal one."""
        listed = json.dumps([[str(product), quantity] for product, quantity in self.items.items()])
        return f'"{hashlib.sha256(listed.encode()).hexdigest()[:32]}"'

    def with_items(self, items: Mapping[UUID, int]) -> Cart | Problem:
        """With these items and no others; those of quantity 0 are left out."""
        kept = {product: quantity for product, quantity in items.items() if quantity > 0}
        return CART_FULL if len(kept) > MAX_LINES else replace(self, items=kept)

    def with_quantities(self, quantities: Mapping[UUID, int]) -> Cart | Problem:
        """With these quantities of these products, and the others as they are."""
        return self.with_items({**self.items, **quantities})

    def with_merged(self, merge_id: UUID, items: Mapping[UUID, int]) -> Cart | Problem:
        """With these items added, once for each merge; a quantity ends at `MAX_QUANTITY`."""
        if merge_id in self.counted:
            return self
        sums = {product: min(self.items.get(product, 0) + more, MAX_QUANTITY) for product, more in items.items()}
        return self._with_counted(merge_id).with_quantities(sums)

    def without_bought(self, order_id: UUID, items: Mapping[UUID, int]) -> Cart | Problem:
        """Without what an order has bought, once for each order; what was put in since stays."""
        if order_id in self.counted:
            return self
        rest = {product: max(self.items.get(product, 0) - bought, 0) for product, bought in items.items()}
        return self._with_counted(order_id).with_quantities(rest)

    def _with_counted(self, event: UUID) -> Cart:
        return replace(self, counted=(*self.counted, event)[-_REMEMBERED:])


Change: TypeAlias = "Callable[[Cart], Cart | Problem]"


class Carts:
    """The carts of all users. Each method may raise `StoreUnavailableError`."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def read_cart(self, user_id: str) -> Cart:
        """The cart of a user, perhaps an empty one."""
        return _parse_cart(await self._read_stored(user_id))

    async def change_cart(self, user_id: str, change: Change, *, if_match: str | None = None) -> Cart | Problem:
        """Replace a cart by what `change` makes of it, and give that.

        `change` runs again after another writer was faster, so that no change is lost. Behind Sentinels the returned
        cart outlives the loss of the master; after a `StoreUnavailableError` the change may be there or not.

        Args:
            user_id: the owner of the cart.
            change: the rule; a refusal leaves the cart as it is.
            if_match: the one entity-tag that the cart must have, or `*`.

        Raises:
            BusyError: others were faster each time.
        """
        for _ in range(_TRIES):
            stored = await self._read_stored(user_id)
            before = _parse_cart(stored)
            if if_match not in {None, "*", before.etag}:
                return CART_CHANGED
            after = change(before)
            if isinstance(after, Problem):
                return after
            # What was there already may have been written a moment ago, by a change that nothing confirmed.
            if after == before and not is_promising(self._redis):
                return after
            with store_errors():
                if await write_confirmed(
                    self._redis, _SWAP, _cart_key(user_id), stored, _serialize_cart(after), LIFE_S
                ):
                    return after
        raise BusyError("everybody changes the same cart")

    async def _read_stored(self, user_id: str) -> bytes:
        with store_errors():
            found = await self._redis.get(_cart_key(user_id))
        return found if isinstance(found, bytes) else b""


def _cart_key(user_id: str) -> str:
    return f"orders:{user_hash_tag(user_id)}:cart"


def _parse_cart(stored: bytes) -> Cart:
    if not stored:
        return Cart()
    value = json.loads(stored)
    items = {UUID(product): quantity for product, quantity in value["items"].items()}
    return Cart(items, tuple(map(UUID, value["counted"])))


def _serialize_cart(cart: Cart) -> bytes:
    items = {str(product): quantity for product, quantity in cart.items.items()}
    return json.dumps({"items": items, "counted": list(map(str, cart.counted))}, separators=(",", ":")).encode()
