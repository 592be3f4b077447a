# Rota. `make` alone lists what there is.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SEEDS  ?= 10000
SEED   ?= 1
MINUTES ?= 5
MAJORS ?= 14 16 17 18
PYTEST ?= -n 6 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help setup run test test-long test-deploy test-postgres bench bench-quick check simulate chaos

help: ## list these
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv (Python 3.11 or newer)
	@echo "Ready: make run, make test."

run: $(STAMP) ## start a server with three workers and watch the tour (ROTA_HOST, ROTA_PORT, ROTA_STORE)
	@$(BIN)/python -m examples.tour

# Tests start some thousand Python processes. Where bytecode is not to be written beside the sources
# (PYTHONDONTWRITEBYTECODE), each would compile all that it imports; a folder of its own is no hindrance to anybody.
test: $(STAMP) ## run the tests (one of them: make test PYTEST="tests/core -k retry")
	env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CURDIR)/$(VENV)/bytecode $(BIN)/python -m pytest $(PYTEST)

test-long: $(STAMP) ## run the tests that take long, which make test leaves out (some minutes)
	$(MAKE) test PYTEST="-m long $(PYTEST)"

test-deploy: $(STAMP) ## build the image and try docker-compose.yml on an engine of its own (some minutes; root)
	$(BIN)/python -m pytest -m deploy tests/deploy

test-postgres: $(STAMP) ## run the tests of the PostgreSQL store on other versions of it (make test-postgres MAJORS=18; npm)
	$(BIN)/python -m tests.postgres_majors $(MAJORS)

bench: $(STAMP) ## measure, and write bench/RESULTS.md (some parts: make bench PARTS="drain idle")
	$(BIN)/uv sync --quiet --frozen --inexact --group bench
	$(BIN)/python -m bench $(PARTS)

bench-quick: $(STAMP) ## has something become slower? Two minutes at most; a busy machine will do (KEEP=1 keeps this run)
	$(BIN)/python -m bench.guard $(if $(KEEP),--keep)

check: $(STAMP) ## lint, format, types, import floors
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

simulate: $(STAMP) ## step a whole cluster through SEEDS seeds (make simulate SEEDS=100000)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

chaos: $(STAMP) ## break a whole cluster for MINUTES, as a seed says (make chaos SEED=7 MINUTES=10; needs root)
	$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES)

# `--inexact` leaves uv itself, and what bench adds, in place. Bytecode is made here, once: a command that has to compile its
# modules first starts half as fast, and where none may be written (PYTHONDONTWRITEBYTECODE) it would each time.
$(STAMP): pyproject.toml uv.lock
	@for python in python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Rota needs Python 3.11 or newer; found: $$(python3 --version 2>/dev/null || echo no python3)." >&2; exit 1; \
	fi; \
	if $(BIN)/python -c 'import uv' 2>/dev/null; then exit 0; fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found cannot make a virtual environment; on Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; \
	fi; \
	echo "Installing into $(VENV) ..."; \
	$$found -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv sync --quiet --frozen --inexact --compile-bytecode
	@$(BIN)/python -m compileall -q src
	@touch $@
