"""What products are found by, and their images."""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("products", sa.Column("search_text", sa.Text(), nullable=False, server_default=""))
    op.add_column("products", sa.Column("image_id", sa.Uuid(), nullable=True))
    products = sa.table(
        "products",
        sa.column("id", sa.Uuid()),
        sa.column("name", sa.String()),
        sa.column("description", sa.String()),
        sa.column("search_text", sa.Text()),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(products.c.id, products.c.name, products.c.description)).all():
        text = unicodedata.normalize("NFKC", f"{row.name}\n{row.description}".casefold())
        connection.execute(products.update().where(products.c.id == row.id).values(search_text=text))
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
    op.drop_column("products", "image_id")
    op.drop_column("products", "search_text")
