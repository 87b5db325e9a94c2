"""Addresses, uploads, and which of them is an account's avatar."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("avatar_id", sa.Uuid(), nullable=True))
    op.create_table(
        "addresses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("line1", sa.String(120), nullable=False),
        sa.Column("line2", sa.String(120), nullable=True),
        sa.Column("postal_code", sa.String(20), nullable=True),
        sa.Column("city", sa.String(120), nullable=False),
        sa.Column("region", sa.String(120), nullable=True),
        sa.Column("country", sa.String(2), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="addresses_pk"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="addresses_account"),
    )
    op.create_index("addresses_by_account", "addresses", ["account_id", "created_at", "id"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("filename", sa.String(255), nullable=True),
        sa.Column("content_type", sa.String(100), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="uploads_pk"),
        sa.CheckConstraint("status IN ('pending', 'confirmed')", name="uploads_status"),
    )
    op.create_index("uploads_by_owner", "uploads", ["owner", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("uploads_by_owner", "uploads")
    op.drop_table("uploads")
    op.drop_index("addresses_by_account", "addresses")
    op.drop_table("addresses")
    op.drop_column("accounts", "avatar_id")
