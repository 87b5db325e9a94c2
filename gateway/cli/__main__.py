"""`python -m gateway.cli`, the same program as `lockgate`; supervised workers are started this way."""

from gateway.cli.main import run

run()
