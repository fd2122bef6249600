# `make up` and `make test` work on a machine that has only Python 3.11, make and root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What takes long to build is kept outside the checkout, and built anew where it is absent.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/everfly
ENDPOINT := $(VENV)/.endpoint
ENDPOINT_SOURCES := $(wildcard endpoint-rs/*.toml endpoint-rs/Cargo.lock endpoint-rs/src/*.rs \
  endpoint-rs/src/*/*.rs endpoint-rs/python/*/*)
COMPILE = $(BIN)/python -m everfly.compiled.build
# All tests but those that are pure and measured for coverage.
REAL := tests --ignore tests/core --ignore tests/scenarios

.PHONY: up test test-fast test-rust lint format bench soak fuzz sim compiled mutations clean lock help

help:
	@echo "make up        an always-on store on this machine: 1 primary, 2 replicas, 3 Sentinels"
	@echo "make test      all tests (make test-fast: the pure ones, in seconds)"
	@echo "make lint      formatter, linter, types, layers"
	@echo "make bench     recovery and switchover, against genuine peers (bench/scale.py: many groups)"
	@echo "make soak      200 faults in a row on one deployment; make fuzz: a million inputs a parser"
	@echo "make sim       random worlds for the core (SEEDS=A..B, default 0..2000)"
	@echo "make compiled  machine code of the core and the simulator: the same worlds, three times as fast"
	@echo "make mutations deliberate mistakes in the core: which world catches each of them"

# uv comes from the package index into an environment of its own, the project's tools into another.
.tools/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Everfly needs Python 3.11 or newer")'
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check 'uv>=0.5'

$(STAMP): .tools/bin/uv requirements.lock pyproject.toml
	.tools/bin/uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	.tools/bin/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	.tools/bin/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# The data plane of the endpoint is Rust. Without cargo all else works, and says what it lacks.
$(ENDPOINT): $(STAMP) $(ENDPOINT_SOURCES)
	@if command -v cargo >/dev/null; then \
	  echo "building the endpoint's data plane (two minutes the first time)" >&2; \
	  rm -rf build/wheels && \
	  CARGO_TARGET_DIR=$(CACHE)/endpoint-target $(BIN)/maturin build --quiet --release --locked \
	    --manifest-path endpoint-rs/Cargo.toml --interpreter $(BIN)/python --out build/wheels && \
	  .tools/bin/uv pip install --quiet --python $(BIN)/python --no-deps --no-index --reinstall \
	    build/wheels/*.whl; \
	else echo "no cargo on PATH: skipped the endpoint's data plane (install Rust to have it)" >&2; fi
	@touch $@

up: $(ENDPOINT)
	$(BIN)/everfly up $(ARGS)

test: $(ENDPOINT) lint test-rust
	@deploy/test-peers.sh
	@echo "the Kubernetes control plane of the operator's tests (three minutes the first time)" >&2; \
	cd tests/operator && $(abspath $(BIN))/python -m controlplane.binaries >/dev/null || \
	  echo "tests that need it are skipped" >&2
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -p no:xdist tests/core tests/scenarios
	$(BIN)/coverage report --fail-under=100
	@$(COMPILE) || true
	$(BIN)/pytest -q -n 2 --dist loadgroup $(REAL) || { \
	  echo "some failed beside all others: they are run again, alone" >&2; \
	  $(BIN)/pytest -q --last-failed --last-failed-no-failures none -p no:randomly $(REAL); }

# Also what Rust has beside its compiler, where it is installed.
test-rust:
	@if ! command -v cargo >/dev/null; then echo "no cargo on PATH: skipped the tests in Rust" >&2; exit 0; fi; \
	set -e; cd endpoint-rs; export CARGO_TARGET_DIR=$(CACHE)/endpoint-target; \
	if cargo fmt --version >/dev/null 2>&1; then cargo fmt --check; fi; \
	if cargo clippy --version >/dev/null 2>&1; then \
	  cargo clippy --quiet --no-default-features --all-targets --locked -- --deny warnings; fi; \
	cargo test --quiet --no-default-features --locked

test-fast: $(STAMP)
	$(BIN)/pytest -q tests/core tests/scenarios tests/wire

lint: $(STAMP)
	$(BIN)/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports --no-cache >/dev/null || PYTHONPATH=src $(BIN)/lint-imports --no-cache

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

# Needs a C compiler. Whoever only profits from it (test, sim, bench) does without where it fails.
compiled: $(STAMP)
	@$(COMPILE)

SEEDS ?= 0..2000
sim: $(STAMP)
	@$(COMPILE) || true
	$(BIN)/everfly sim --seeds $(SEEDS) --jobs 2

mutations: $(STAMP)
	$(BIN)/python bench/mutations.py --jobs 2 --write $(ARGS)

bench: $(ENDPOINT)
	@$(COMPILE) || true
	$(BIN)/python bench/failover.py $(ARGS)
	$(BIN)/python bench/switchover.py $(ARGS)
	$(BIN)/python bench/scale.py --primaries 100,500
	$(BIN)/python bench/sim.py
	$(BIN)/python bench/endpoint.py --quick
	$(BIN)/python bench/durable.py
	$(BIN)/python bench/operator_scale.py

soak: $(STAMP)
	$(BIN)/python bench/soak.py --check $(ARGS)

fuzz: $(STAMP)
	$(BIN)/python bench/fuzz.py $(ARGS)
	@if ! command -v cargo >/dev/null; then echo "no cargo on PATH: skipped the framers in Rust" >&2; exit 0; fi; \
	cd endpoint-rs && CARGO_TARGET_DIR=$(CACHE)/endpoint-target \
	  cargo run --quiet --release --no-default-features --locked --example fuzz -- 10000000

clean:
	rm -rf $(VENV) .tools build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Versions and hashes of everything installed, without the addresses of the registries.
lock: .tools/bin/uv
	.tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --all-extras --group dev \
	  pyproject.toml --output-file requirements.lock
