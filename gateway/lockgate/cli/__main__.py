"""`python -m lockgate.cli`, the same program as `lockgate`; supervised workers are started this way."""

from lockgate.cli.main import run

run()
