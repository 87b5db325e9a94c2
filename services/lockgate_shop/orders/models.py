"""Orders, as they are stored, and the states they go through."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from lockgate_shop.kit.data.database import UtcDateTime
from lockgate_shop.kit.data.migrations import Schema


class Status(StrEnum):
    """Where an order is on its way."""

    PLACED = "placed"
    CANCELLED = "cancelled"


INITIAL: Final = Status.PLACED
NEXT: Final[Mapping[Status, frozenset[Status]]] = MappingProxyType(
    {
        Status.PLACED: frozenset({Status.CANCELLED}),
        Status.CANCELLED: frozenset(),
    }
)
"""What may follow each state; what is not here does not happen."""
CANCELLABLE: Final = frozenset(status for status, following in NEXT.items() if Status.CANCELLED in following)


class Base(DeclarativeBase):
    """The tables of the orders database."""


class Order(Base):
    """What one user bought. Names and prices are those of the moment; the catalogue may change."""

    __tablename__ = "orders"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="orders_pk"),
        CheckConstraint("total_minor >= 0", name="orders_total"),
        CheckConstraint("status IN ('placed', 'cancelled')", name="orders_status"),
        Index("orders_of_user", "user_id", "placed_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(Uuid)
    user_id: Mapped[str] = mapped_column(String(256))
    status: Mapped[str] = mapped_column(String(16))
    currency: Mapped[str] = mapped_column(String(3))
    total_minor: Mapped[int] = mapped_column(BigInteger)
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    lines: Mapped[list["OrderLine"]] = relationship(lazy="selectin", order_by="OrderLine.position")


class OrderLine(Base):
    """So many of one product, at the unit price of the moment."""

    __tablename__ = "order_lines"
    __table_args__ = (
        PrimaryKeyConstraint("order_id", "position", name="order_lines_pk"),
        ForeignKeyConstraint(["order_id"], ["orders.id"], name="order_lines_order"),
        CheckConstraint("quantity > 0", name="order_lines_quantity"),
    )

    order_id: Mapped[UUID] = mapped_column(Uuid)
    position: Mapped[int] = mapped_column(Integer)
    product_id: Mapped[UUID] = mapped_column(Uuid)
    name: Mapped[str] = mapped_column(String(120))
    quantity: Mapped[int] = mapped_column(BigInteger)
    price_minor: Mapped[int] = mapped_column(BigInteger)


class Checkout(Base):
    """An order on its way, stored before anything is taken for it: its reservation has the id of the order.

    As long as `outcome` is null it is under way, or was left behind by a process that died. Then it is `placed`, or
    the code of the refusal.
    """

    __tablename__ = "checkouts"
    __table_args__ = (
        PrimaryKeyConstraint("order_id", name="checkouts_pk"),
        UniqueConstraint("user_id", "idempotency_key", name="checkouts_key"),
        Index("checkouts_by_age", "started_at"),
    )

    order_id: Mapped[UUID] = mapped_column(Uuid)
    user_id: Mapped[str] = mapped_column(String(256))
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    fingerprint: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(String(32))


class Release(Base):
    """A reservation that is to be given back, for as long as products has not confirmed that it was."""

    __tablename__ = "releases"
    __table_args__ = (PrimaryKeyConstraint("reservation_id", name="releases_pk"), Index("releases_by_age", "since"))

    reservation_id: Mapped[UUID] = mapped_column(Uuid)
    since: Mapped[datetime] = mapped_column(UtcDateTime)


class ExportStatus(StrEnum):
    """Where an export is on its way."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


UNFINISHED: Final = frozenset({ExportStatus.QUEUED, ExportStatus.RUNNING})


class Export(Base):
    """A file of all orders that a user had when they asked for it: a job, and what has become of it."""

    __tablename__ = "exports"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="exports_pk"),
        CheckConstraint("status IN ('queued', 'running', 'done', 'failed')", name="exports_status"),
        Index("exports_of_user", "user_id", "status"),
        Index("exports_by_age", "status", "touched_at"),
    )

    id: Mapped[UUID] = mapped_column(Uuid)
    user_id: Mapped[str] = mapped_column(String(256))
    status: Mapped[str] = mapped_column(String(16))
    total: Mapped[int] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer)
    attempts: Mapped[int] = mapped_column(Integer)
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    touched_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


SCHEMA: Final = Schema(service="orders", head="0003", metadata=Base.metadata)
