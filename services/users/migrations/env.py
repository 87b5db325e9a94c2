"""Where Alembic starts; everything it needs is handed over by `services.kit.migrations`."""

from alembic import context

from services.kit.migrations import run_environment

run_environment(context)
