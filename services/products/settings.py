"""What the products service can be told (`PRODUCTS_…`)."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.kit.settings import ServiceSettings


class ProductsSettings(ServiceSettings):
    """The shared settings, with this service's defaults."""

    model_config = SettingsConfigDict(env_prefix="PRODUCTS_")

    database_url: str = Field(default="sqlite:///.lockgate/products.db", repr=False, validate_default=True)
    port: Annotated[int, Field(ge=0, le=65535)] = 8103
