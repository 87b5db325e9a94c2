"""Products, their images and reservations, as they are stored."""

import unicodedata
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    String,
    Text,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from lockgate_shop.kit.data.database import UtcDateTime
from lockgate_shop.kit.data.migrations import Schema
from lockgate_shop.kit.data.uploads import UploadColumns


class Base(DeclarativeBase):
    """The tables of the products database."""


class Product(Base):
    """Something for sale. A withdrawn one stays for the reservations that speak of it, and no other query finds it."""

    __tablename__ = "products"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="products_pk"),
        CheckConstraint("stock >= 0", name="products_stock"),
        CheckConstraint("price_minor >= 0", name="products_price"),
        Index("products_by_name", "name", "id"),
    )

    id: Mapped[UUID] = mapped_column(Uuid)
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(String(2000))
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    stock: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    search_text: Mapped[str] = mapped_column(Text, server_default="")
    """Name and description as `fold_text` makes them: what the engines' own ideas of case do not agree about."""
    image_id: Mapped[UUID | None] = mapped_column(Uuid)
    """The confirmed upload that shows it."""


def fold_text(text: str) -> str:
    """A text in the one form in which texts are compared, without regard to case and compatibility forms."""
    return unicodedata.normalize("NFKC", text.casefold())


class Upload(UploadColumns, Base):
    """An image of a product; the owner is the product's id."""

    __tablename__ = "uploads"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="uploads_pk"),
        CheckConstraint("status IN ('pending', 'confirmed')", name="uploads_status"),
        Index("uploads_by_owner", "owner", "created_at", "id"),
    )


class ReservationStatus(StrEnum):
    """Whether a reservation's stock is taken. A released one never becomes held again."""

    HELD = "held"
    RELEASED = "released"


class Reservation(Base):
    """Stock taken for one order. The caller gives its id, so that asking twice takes once."""

    __tablename__ = "reservations"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="reservations_pk"),
        CheckConstraint("status IN ('held', 'released')", name="reservations_status"),
    )

    id: Mapped[UUID] = mapped_column(Uuid)
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    lines: Mapped[list["ReservationLine"]] = relationship(lazy="selectin", order_by="ReservationLine.product_id")


class ReservationLine(Base):
    """So many of one product, at the price of the moment they were reserved."""

    __tablename__ = "reservation_lines"
    __table_args__ = (
        PrimaryKeyConstraint("reservation_id", "product_id", name="reservation_lines_pk"),
        ForeignKeyConstraint(["reservation_id"], ["reservations.id"], name="reservation_lines_reservation"),
        ForeignKeyConstraint(["product_id"], ["products.id"], name="reservation_lines_product"),
        CheckConstraint("quantity > 0", name="reservation_lines_quantity"),
    )

    reservation_id: Mapped[UUID] = mapped_column(Uuid)
    product_id: Mapped[UUID] = mapped_column(Uuid)
    quantity: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(String(120))
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))


SCHEMA: Final = Schema(service="products", head="0002", metadata=Base.metadata)
