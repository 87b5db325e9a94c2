"""What the products service can be told (`PRODUCTS_…`)."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from lockgate_shop.kit.data.objects import ObjectSettings


class ProductsSettings(ObjectSettings):
    """The shared settings, where images are, and where products are cached."""

    model_config = SettingsConfigDict(env_prefix="PRODUCTS_")

    database_url: str = Field(default="sqlite:///.lockgate/products.db", repr=False, validate_default=True)
    port: Annotated[int, Field(ge=0, le=65535)] = 8103
    redis_url: str | None = Field(default=None, repr=False)
    """Where products are cached; without it each is read from the database. Never printed: it may hold a password."""
