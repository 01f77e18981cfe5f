# Everything a newcomer needs: `make demo`, `make test`. Nothing here needs a hand-made step.
# A stamp under .venv tells what is installed, so a second run is quick and works offline.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=
ROOTS := protocols simulators edge cloud billing portal meterloop

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo up test check bench lint clean lock requirements browser

help:
	@echo "make demo [ARGS='--headless --exit']   the demo town on this machine"
	@echo "make up ARGS='--config FILE'           a real installation"
	@echo "make test                              every test"
	@echo "make check                             format, lint, types, import contracts, tests"
	@echo "make bench                             figures of this machine, as a table and JSON"
	@echo "make requirements                      write docs/requirements.md anew"
	@echo "make lock                              compile the two lock files anew"
	@echo "make clean                             remove what these targets made"

$(VENV)/bin/python:
	@bash deploy/make-venv.sh $(VENV)

$(VENV)/.stamp-run: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PY) -m pip install -q --require-hashes -r requirements.lock
	$(PY) -m pip install -q --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.stamp-dev
	@touch $@

$(VENV)/.stamp-dev: requirements-dev.lock $(VENV)/.stamp-run
	$(PY) -m pip install -q --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.stamp-run
	@$(VENV)/bin/meterloop demo $(ARGS)

up: $(VENV)/.stamp-run
	@$(VENV)/bin/meterloop up $(ARGS)

browser:
	@bash deploy/browser.sh

test: $(VENV)/.stamp-dev browser
	$(PY) -m pytest $(ARGS)

lint: $(VENV)/.stamp-dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy $(ROOTS)
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/deptry . --no-ansi
	$(VENV)/bin/codespell

check: lint test

bench: $(VENV)/.stamp-dev
	$(PY) tests/benchmarks/loop.py $(ARGS)

requirements: $(VENV)/.stamp-dev
	$(PY) tests/architecture/requirements_table.py --write

lock: $(VENV)/.stamp-dev
	@bash deploy/lock.sh $(PY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
	find $(ROOTS) tests -name __pycache__ -type d -prune -exec rm -rf {} +
