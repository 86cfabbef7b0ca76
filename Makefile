# Everything that is typed by hand. The environment is .venv, installed from hash-locked lists;
# a target sets up what it needs and does nothing when that is there.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-header --no-annotate --no-emit-index-url --no-emit-trusted-host \
	--no-emit-find-links --no-emit-options --build-deps-for editable

.PHONY: help setup demo test lint types bench lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/dev.stamp ## the environment of developers, training and export included

demo: $(VENV)/runtime.stamp ## run the daemon on a made-up camera
	$(BIN)/edge demo

test: $(VENV)/dev.stamp ## run the tests
	$(BIN)/python -m pytest

lint: $(VENV)/dev.stamp ## style, format, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/dev.stamp ## static types
	$(BIN)/mypy

bench: $(VENV)/runtime.stamp ## measure speed, latency and memory beside their floor
	$(BIN)/edge bench

lock: $(VENV)/dev.stamp ## write the lists anew; newest versions with UPGRADE=--upgrade
	$(LOCK) $(UPGRADE) --extra demo --output-file .ci/runtime.lock pyproject.toml
	$(LOCK) $(UPGRADE) --extra demo --extra deploy --extra train --extra dev \
		--constraint .ci/runtime.lock --output-file .ci/dev.lock pyproject.toml

clean: ## remove the environment and everything that tools left
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache .coverage

$(BIN)/python:
	@for python in python3.11 python3 python3.12 python3.13; do \
		if $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
		then echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); fi; \
	done; \
	echo 'Python 3.11 or newer with its venv module is needed: install python3.11 and' \
		'python3.11-venv' >&2; exit 1

$(VENV)/runtime.stamp: .ci/runtime.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r .ci/runtime.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: .ci/dev.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r .ci/dev.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(VENV)/runtime.stamp $@
