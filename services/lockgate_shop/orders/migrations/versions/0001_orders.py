"""Orders and their lines."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="orders_pk"),
        sa.CheckConstraint("total_minor >= 0", name="orders_total"),
        sa.CheckConstraint("status IN ('placed', 'cancelled')", name="orders_status"),
    )
    op.create_index("orders_of_user", "orders", ["user_id", "placed_at", "id"])
    op.create_table(
        "order_lines",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", "position", name="order_lines_pk"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="order_lines_order"),
        sa.CheckConstraint("quantity > 0", name="order_lines_quantity"),
    )


def downgrade() -> None:
    op.drop_table("order_lines")
    op.drop_index("orders_of_user", "orders")
    op.drop_table("orders")
