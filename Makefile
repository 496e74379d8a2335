# One line for each job; every one makes .venv by itself. Needs make and Python 3.11 or newer.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Tests run in this many processes.
JOBS   ?= 2

.PHONY: help demo test check lint types contracts generate drift bench bench-quick faults limits chain balancers clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.dev ## start the sample gRPC service with the gateway in front of it
	$(BIN)/protogw demo

test: $(VENV)/.dev ## run every test
	$(BIN)/pytest -n $(JOBS)

check: lint types contracts drift test ## everything that CI wants: format, lint, types, contracts, drift, tests

lint: $(VENV)/.dev ## format and lint, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

contracts: $(VENV)/.dev ## which part may import which
	$(BIN)/lint-imports

generate: $(VENV)/.dev ## write what is generated: message classes, config schema, support matrix
	$(BIN)/python scripts/generate.py

drift: $(VENV)/.dev ## fail when something generated is out of date
	$(BIN)/python scripts/generate.py --check

bench: $(VENV)/.bench ## the gateway beside Envoy and nginx, into benchmarks/results/
	$(BIN)/python -m benchmarks

bench-quick: $(VENV)/.bench ## the same in under two minutes
	$(BIN)/python -m benchmarks --quick

faults: $(VENV)/.dev ## services that die, hang, reset and flap under load, and what clients notice
	$(BIN)/python -m benchmarks.faults

limits: $(VENV)/.dev ## what a rate limit lets through, by one process and by two workers
	$(BIN)/python -m benchmarks.limits

chain: $(VENV)/.bench ## what each policy of the usual chain adds to a call, beside Envoy's filters
	$(BIN)/python -m benchmarks.chain

balancers: $(VENV)/.bench ## simulate the balancers under uneven latency, into docs/balancers.svg
	$(BIN)/python -m benchmarks.balancers

clean: ## remove .venv and every cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "protogw needs Python 3.11 or newer, and $(PYTHON) is older; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || \
	  { echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@
