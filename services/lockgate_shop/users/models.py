"""An account and what belongs to it, as they are stored, and what a username is."""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from lockgate_shop.kit.data.database import UtcDateTime
from lockgate_shop.kit.data.migrations import Schema
from lockgate_shop.kit.data.uploads import UploadColumns


class Status(StrEnum):
    """Whether an account may log in."""

    ACTIVE = "active"
    BLOCKED = "blocked"


class Role(StrEnum):
    """What an account is for; which scopes a role grants is the gateway's business."""

    CUSTOMER = "customer"
    ADMIN = "admin"


class Base(DeclarativeBase):
    """The tables of the users database."""


class Account(Base):
    """A user that can log in. The id is the `sub` of the user's tokens; it never changes and is never reused."""

    __tablename__ = "accounts"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="accounts_pk"),
        UniqueConstraint("username", name="accounts_username"),
        CheckConstraint("status IN ('active', 'blocked')", name="accounts_status"),
    )

    id: Mapped[UUID] = mapped_column(Uuid)
    username: Mapped[str] = mapped_column(String(32))
    password_hash: Mapped[str] = mapped_column(String(255))
    display_name: Mapped[str] = mapped_column(String(80))
    email: Mapped[str | None] = mapped_column(String(254))
    roles: Mapped[list[str]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    password_changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    avatar_id: Mapped[UUID | None] = mapped_column(Uuid)
    """The confirmed upload that shows the user."""
    email_verified: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether the address is known to be the user's. Another address is not verified."""


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account as it was read: the columns of `Account`, in their order."""

    id: UUID
    username: str
    password_hash: str = field(repr=False)
    display_name: str
    email: str | None
    roles: list[str]
    status: str
    created_at: datetime
    password_changed_at: datetime
    avatar_id: UUID | None
    email_verified: bool


class Address(Base):
    """A user's postal address."""

    __tablename__ = "addresses"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="addresses_pk"),
        ForeignKeyConstraint(["account_id"], ["accounts.id"], name="addresses_account"),
        Index("addresses_by_account", "account_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(Uuid)
    account_id: Mapped[UUID] = mapped_column(Uuid)
    name: Mapped[str] = mapped_column(String(120))
    line1: Mapped[str] = mapped_column(String(120))
    line2: Mapped[str | None] = mapped_column(String(120))
    postal_code: Mapped[str | None] = mapped_column(String(20))
    city: Mapped[str] = mapped_column(String(120))
    region: Mapped[str | None] = mapped_column(String(120))
    country: Mapped[str] = mapped_column(String(2))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Upload(UploadColumns, Base):
    """A file of a user; the owner is an account's id."""

    __tablename__ = "uploads"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="uploads_pk"),
        CheckConstraint("status IN ('pending', 'confirmed')", name="uploads_status"),
        Index("uploads_by_owner", "owner", "created_at", "id"),
    )


SCHEMA: Final = Schema(service="users", head="0003", metadata=Base.metadata)

_USERNAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{1,30})[a-z0-9]")
_MAX_SPELLING: Final = 128


def normal_username(spelling: str) -> str | None:
    """The one form in which a username is stored, looked up and counted; None when it cannot be one.

    Compatibility forms, case and surrounding white space make no difference; what is left is 3 to 32 ASCII letters,
    digits, dots, hyphens and underscores, with a letter or digit at both ends. So no two names look alike.
    """
    if len(spelling) > _MAX_SPELLING:
        return None
    name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", spelling).casefold()).strip()
    return name if _USERNAME.fullmatch(name) else None
