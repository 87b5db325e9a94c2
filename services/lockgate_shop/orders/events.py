"""Changes of orders, as events for live connections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.errors import StoreUnavailableError

if TYPE_CHECKING:
    from lockgate_shop.kit.data.events import Feed
    from lockgate_shop.orders.models import Order

log = structlog.get_logger("service")


class OrderEvents:
    """Tells an order's owner on any node that the order has changed."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock

    async def publish_change(self, order: Order) -> None:
        """Publish the change. The change itself is stored: while Redis is away no event is sent, which is logged."""
        data = {"order_id": str(order.id), "status": str(order.status), "at": utc_now(self._clock).isoformat()}
        try:
            await self._feed.publish_event(order.user_id, json.dumps(data, separators=(",", ":")))
        except StoreUnavailableError as error:
            log.warning("event_lost", order=str(order.id), fault=str(error))
