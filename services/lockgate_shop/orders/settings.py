"""What the orders service can be told (`ORDERS_…`)."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from lockgate_shop.kit.data.objects import ObjectSettings


class OrdersSettings(ObjectSettings):
    """The shared settings, where exports are kept, and where products and Redis are."""

    model_config = SettingsConfigDict(env_prefix="ORDERS_")

    database_url: str = Field(default="sqlite:///.lockgate/orders.db", repr=False, validate_default=True)
    port: Annotated[int, Field(ge=0, le=65535)] = 8102
    products_url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")] = "http://127.0.0.1:8103"
    """The products service, without a path."""
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)
    """Where carts, live events and jobs are; never printed, for it may hold a password."""
    beat_s: Annotated[float, Field(gt=0, le=60)] = 5
    """After how many silent seconds a live connection is given a sign of life; less than proxies wait for one."""
    worker_port: Annotated[int, Field(ge=0, le=65535)] = 8112
    """Where a worker answers probes, on `host`."""
    worker_idle_s: Annotated[float, Field(ge=1, le=600)] = 30
    """A worker that gave no sign of life for so long is taken for dead, and its jobs are given to others."""
