"""What the users service can be told (`USERS_…`)."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from lockgate_shop.kit.data.objects import ObjectSettings


class UsersSettings(ObjectSettings):
    """The shared settings, where files are, and how many passwords are hashed at once."""

    model_config = SettingsConfigDict(env_prefix="USERS_")

    database_url: str = Field(default="sqlite:///.lockgate/users.db", repr=False, validate_default=True)
    port: Annotated[int, Field(ge=0, le=65535)] = 8101
    hashing_threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Each needs 19 MiB while it hashes, and a core for about 25 ms."""
