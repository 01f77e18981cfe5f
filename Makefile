# Everything a newcomer needs: `make demo`, `make test`. Nothing here needs a hand-made step.
# A stamp under .venv tells what is installed, so a second run is quick and works offline.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PEERS := .venv-interop
PY := $(VENV)/bin/python
ARGS ?=
HYPERTABLE := $(wildcard tests/integration/test_ingest_*.py) tests/integration/test_timescale.py \
	tests/integration/test_usage.py tests/integration/test_vee.py tests/integration/test_readings_cli.py \
	tests/integration/test_platform_audit.py
ROOTS := protocols simulators edge cloud billing portal meterloop

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo up test check bench lint clean lock requirements browser interop kill-test kill-stream test-broker test-timescale fuzz

help:
	@echo "make demo [ARGS='--headless --exit']   the demo town on this machine"
	@echo "make up ARGS='--config FILE'           a real installation"
	@echo "make test                              every test"
	@echo "make test-timescale                    ingest, usage, VEE on a hypertable of TimescaleDB"
	@echo "make interop                           the tests against foreign DLMS libraries alone"
	@echo "make check                             format, lint, types, import contracts, tests"
	@echo "make kill-test                         the edge agent killed a thousand times (some minutes)"
	@echo "make kill-stream                       bridge, workers, Kafka, broker and PostgreSQL killed"
	@echo "make bench                             figures of this machine, as a table and JSON"
	@echo "make fuzz [ARGS='--seconds 600']       coverage-guided fuzzing of every decoder"
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

# foreign libraries live apart: their licences and versions are nothing of ours
$(PEERS)/.stamp: requirements-interop.lock
	@test -x $(PEERS)/bin/python || bash deploy/make-venv.sh $(PEERS)
	$(PEERS)/bin/python -m pip install -q --require-hashes -r requirements-interop.lock
	@touch $@

interop: $(VENV)/.stamp-dev $(PEERS)/.stamp
	$(PY) -m pytest tests/interop $(ARGS)

test-broker:
	@bash deploy/test-broker.sh

# what ingest, usage and VEE keep, on a hypertable of a real TimescaleDB; make test has partitions
test-timescale: $(VENV)/.stamp-dev
	@bash deploy/test-timescale.sh
	$(PY) -m pytest --readings-in hypertable $(HYPERTABLE) $(ARGS)

test: $(VENV)/.stamp-dev $(PEERS)/.stamp browser test-broker
	$(PY) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.stamp-dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy $(ROOTS)
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/deptry . --no-ansi
	$(VENV)/bin/codespell

check: lint test

kill-test: $(VENV)/.stamp-dev
	METERLOOP_KILLS=1000 $(PY) -m pytest -s tests/chaos/test_edge_thousand_kills.py $(ARGS)

kill-stream: $(VENV)/.stamp-dev
	METERLOOP_STREAM_SECONDS=120 $(PY) -m pytest -s tests/chaos/test_kafka_kills.py $(ARGS)

bench: $(VENV)/.stamp-dev
	PYTHONPATH=. $(PY) tests/benchmarks/loop.py $(ARGS)
	PYTHONPATH=. $(PY) tests/benchmarks/field.py $(ARGS)
	PYTHONPATH=. $(PY) tests/benchmarks/stream_ingest.py $(STREAM)
	PYTHONPATH=. $(PY) tests/benchmarks/stream_day.py $(DAY) $(if $(findstring --json,$(ARGS)),--json)
	PYTHONPATH=. $(PY) tests/benchmarks/stream_kafka.py $(if $(findstring --json,$(ARGS)),--json)
	PYTHONPATH=. $(PY) tests/benchmarks/money.py $(ARGS)
	PYTHONPATH=. $(PY) tests/benchmarks/money_payments.py $(ARGS)
	PYTHONPATH=. $(PY) tests/benchmarks/money_sweep.py $(SWEEP)
	PYTHONPATH=. $(PY) tests/benchmarks/money_bills.py $(ARGS)
	PYTHONPATH=. $(PY) tests/benchmarks/stream_vee.py $(ARGS)
	PYTHONPATH=. $(PY) tests/benchmarks/vee_accuracy.py $(if $(findstring --json,$(ARGS)),--json)

# not part of make test: the gate has its own fuzz, which needs no wheel of one interpreter
fuzz: $(VENV)/.stamp-dev
	$(PY) -m pip install -q --require-hashes -r requirements-fuzz.lock
	PYTHONPATH=. $(PY) tests/fuzz/coverage_guided.py $(ARGS)

requirements: $(VENV)/.stamp-dev
	$(PY) tests/architecture/requirements_table.py --write

lock: $(VENV)/.stamp-dev
	@bash deploy/lock.sh $(PY)

clean:
	rm -rf .fuzz $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
	find $(ROOTS) tests -name __pycache__ -type d -prune -exec rm -rf {} +
