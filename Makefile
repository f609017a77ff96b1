# Everything runs from .venv, which `make install` builds from requirements.lock.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.SHELLFLAGS := -eu -o pipefail -c
# A lab behind a proxy that signs with its own authority is common: ask the system whom to trust.
export UV_SYSTEM_CERTS ?= true
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo .venv/tools/bin/uv)
SOURCES := lexicons xrpc firehose appview sdk deploy tests demo docs

.PHONY: install demo node test check format bench compile corpus docs lock clean

install: .venv/.installed

# uv comes from pip where the machine has none.
.venv/.installed: pyproject.toml requirements.lock
	@mkdir -p .venv
	@if ! command -v $(UV) >/dev/null 2>&1; then \
	  $(PYTHON) -m venv .venv/tools && .venv/tools/bin/pip install --quiet uv; fi
	@test -x $(BIN)/python || $(UV) venv --quiet --allow-existing --python '>=3.11' .venv
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --editable .
	@touch $@

demo: install
	@$(BIN)/python -m demo

node: install
	@$(BIN)/atdex node run

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: install
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

format: install
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: install
	$(BIN)/python -m tests.benchmarks

# What the benchmark of the firehose replays: recorded by it too, where it is missing.
corpus: install
	$(BIN)/python -m tests.benchmarks.record_corpus

# What verifies commits, compiled beside its sources: a third faster. `make clean` takes it away.
compile: install
	$(BIN)/python deploy/compile.py

docs: install
	$(BIN)/python docs/generate.py

# The lock names packages and hashes and no index, so that it installs from a
# mirror as well.
lock:
	$(UV) lock --quiet
	$(UV) export --quiet --extra node --format requirements.txt --no-emit-project \
	  --no-header --output-file requirements.lock

clean:
	rm -f firehose/*.so firehose/atdex_firehose/*.so firehose/atdex_firehose/compiled_from.txt
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
