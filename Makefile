# Every target sets up what it needs, inside this folder. `make` alone prints what there is.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PYTHON ?= python3
WORKERS ?= 2
PYTHON_CODE := $(wildcard server client tests bench scripts)

GRPCURL_VERSION := v1.9.4
GHZ_VERSION := v0.121.0

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test check generate bench drill baseline clean \
	check-format check-code check-types check-walls check-generated check-contract check-breaking

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv and install Twofold into it, editable, with its tools

run: $(STAMP)  ## start everything: command server, query server, projector, reactor, broker
	$(BIN)/twofold up

test: $(STAMP) grpcurl  ## run all tests
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup $(ARGS)

check: check-format check-code check-types check-walls check-generated check-contract check-breaking  ## format, lint, types, walls, generated code, contract

generate: $(STAMP)  ## write generated/ anew from protos/
	$(BIN)/python scripts/generate.py

bench: $(STAMP) ghz  ## measure
	$(BIN)/python -m bench $(ARGS)

drill: $(STAMP) grpcurl  ## kill, cut and restart everything while it works (long)
	TWOFOLD_DRILL=full $(BIN)/pytest -m drill -n 0 --timeout 3600 $(ARGS)

baseline: check-generated  ## take today's contract as the released one (at a release only)
	$(BIN)/buf build generated/descriptors.binpb --exclude-source-info -o protos/baseline.binpb

clean:  ## remove what was made, except data/
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the parts of `make check` -------------------------------------------------------------------

check-format: $(STAMP)
	$(BIN)/ruff format --check .

check-code: $(STAMP)
	$(BIN)/ruff check .

check-types: $(STAMP)
	$(BIN)/mypy $(PYTHON_CODE)

check-walls: $(STAMP)
	$(BIN)/lint-imports

check-generated: $(STAMP)
	$(BIN)/python scripts/generate.py --check

check-contract: check-generated
	$(BIN)/buf lint generated/descriptors.binpb

check-breaking: check-generated
	@test -s protos/baseline.binpb || { \
		echo 'protos/baseline.binpb is missing: it is the contract as last released.' >&2; \
		echo 'Fetch it from the history, or make the first one with `make baseline`.' >&2; exit 1; }
	$(BIN)/buf breaking generated/descriptors.binpb --against protos/baseline.binpb

# --- tools ---------------------------------------------------------------------------------------

# The stamp holds the folder that the installation is for: an editable install that was moved or
# copied would quietly run the code of the old folder, so it is made again, like a half-made one.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
FROM_SCRATCH := yes
endif

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Twofold needs Python 3.11 or newer: make PYTHON=/path/to/python3' >&2; exit 1; }
	$(if $(FROM_SCRATCH),rm -rf $(VENV) && $(PYTHON) -m venv $(VENV))
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@echo '$(CURDIR)' > $@

# Two Go programs, built into .venv unless they are on the PATH. Where that fails, the tests that
# need them are skipped, except where CI=true.
.PHONY: grpcurl ghz
grpcurl: $(STAMP)
	@sh scripts/go_tool.sh grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL_VERSION)

ghz: $(STAMP)
	@sh scripts/go_tool.sh ghz github.com/bojand/ghz/cmd/ghz@$(GHZ_VERSION)
