"""Exports of a user's orders: what was asked for, how far it is, and how it ended."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(256), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="exports_pk"),
        sa.CheckConstraint("status IN ('queued', 'running', 'done', 'failed')", name="exports_status"),
    )
    op.create_index("exports_of_user", "exports", ["user_id", "status"])
    op.create_index("exports_by_age", "exports", ["status", "touched_at"])


def downgrade() -> None:
    op.drop_index("exports_by_age", "exports")
    op.drop_index("exports_of_user", "exports")
    op.drop_table("exports")
