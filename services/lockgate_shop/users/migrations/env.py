"""Where Alembic starts; everything it needs is handed over by `lockgate_shop.kit.data.migrations`."""

from alembic import context

from lockgate_shop.kit.data.migrations import run_environment

run_environment(context)
