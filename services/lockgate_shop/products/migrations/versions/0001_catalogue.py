"""Products, and the reservations that take from their stock."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("description", sa.String(2000), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("stock", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="products_pk"),
        sa.CheckConstraint("stock >= 0", name="products_stock"),
        sa.CheckConstraint("price_minor >= 0", name="products_price"),
    )
    op.create_index("products_by_name", "products", ["name", "id"])
    op.create_table(
        "reservations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="reservations_pk"),
        sa.CheckConstraint("status IN ('held', 'released')", name="reservations_status"),
    )
    op.create_table(
        "reservation_lines",
        sa.Column("reservation_id", sa.Uuid(), nullable=False),
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.PrimaryKeyConstraint("reservation_id", "product_id", name="reservation_lines_pk"),
        sa.ForeignKeyConstraint(["reservation_id"], ["reservations.id"], name="reservation_lines_reservation"),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name="reservation_lines_product"),
        sa.CheckConstraint("quantity > 0", name="reservation_lines_quantity"),
    )


def downgrade() -> None:
    op.drop_table("reservation_lines")
    op.drop_table("reservations")
    op.drop_index("products_by_name", "products")
    op.drop_table("products")
