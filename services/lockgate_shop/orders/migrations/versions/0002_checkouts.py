"""Checkouts under way and done, and the reservations that are to be given back."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "checkouts",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("idempotency_key", sa.String(200), nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("order_id", name="checkouts_pk"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="checkouts_key"),
    )
    op.create_index("checkouts_by_age", "checkouts", ["started_at"])
    op.create_table(
        "releases",
        sa.Column("reservation_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reservation_id", name="releases_pk"),
    )
    op.create_index("releases_by_age", "releases", ["since"])


def downgrade() -> None:
    op.drop_index("releases_by_age", "releases")
    op.drop_table("releases")
    op.drop_index("checkouts_by_age", "checkouts")
    op.drop_table("checkouts")
