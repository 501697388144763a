# Everything sets itself up: a machine needs only Python 3.11 or newer and make.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SEEDS ?= 2000
CRASHES ?= 2000

.PHONY: help demo test soak coverage lint format clean

help: ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gameball_async needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable '.[cli,sandbox]' --group test --group lint
	@touch $@

demo: $(READY) ## real shop data through an embedded sandbox, with faults, compared one by one
	$(BIN)/python -m gameball_async.cli.demo

test: $(READY) ## every test
	$(BIN)/python -m pytest

soak: $(READY) ## many simulated lives on both loops, many crashes: make soak SEEDS=20000 CRASHES=2000
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)
	GAMEBALL_CRASHES=$(CRASHES) $(BIN)/python -m pytest tests/crash

coverage: $(READY) ## branches of the core; without the tests of pacing, which measure time
	$(BIN)/coverage run -m pytest tests/unit tests/client tests/simulation --ignore tests/client/test_pacing.py
	$(BIN)/coverage report

lint: $(READY) ## style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove what was built here
	rm -rf .venv build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
