"""What `make check` asks of the repository besides ruff, mypy and the import contracts; standard library only."""
