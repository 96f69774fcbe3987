# `make demo` and `make test` need Python 3.11 or newer and make; they bring the rest into a virtual environment.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
SCHEDULES ?= 10000
# What is simulated, and what looks for longer when it is asked to; not the tests of the simulation itself.
CAMPAIGN = $(filter-out tests/testing/% tests/cli/%, \
    $(shell grep -rlE '^@simulate|UNDERSTUDY_CAMPAIGN' tests --include='test_*.py' | sort))

# The stamps carry the interpreter and the folder, so that another of either makes the environment anew.
ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
WHICH := $(shell $(PYTHON) -c 'import os, sys, zlib; print("%d.%d.%d-%08x" % (*sys.version_info[:3], zlib.crc32(os.getcwd().encode())) if sys.version_info >= (3, 11) else "old")' 2>/dev/null || echo none)
ifeq ($(WHICH),none)
$(error $(PYTHON) does not run: name a Python 3.11 or newer, as in make PYTHON=python3.13)
endif
ifeq ($(WHICH),old)
$(error $(PYTHON) is older than 3.11: name a newer one, as in make PYTHON=python3.13)
endif
endif

RUN := $(VENV)/bin/python
VERSION = $(firstword $(subst -, ,$(WHICH)))
MADE = $(VENV)/.made-$(WHICH)
DEMO = $(VENV)/.demo-$(WHICH)
TEST = $(VENV)/.test-$(WHICH)
LINT = $(VENV)/.lint-$(WHICH)
# What autogen-core wants of protobuf and others is nothing that the rest should have to live with.
PEERS = $(VENV)-peers/.peers-$(WHICH)
BENCH = $(VENV)/.bench-$(WHICH)
INSTALL = $(RUN) -m pip install --quiet --disable-pip-version-check
# Dependency groups came with pip 25.1.
INSTALL_GROUPS = $(INSTALL) 'pip>=25.1' && $(INSTALL)

# Without bytecode each worker would rewrite the asserts of all tests again, and each process that a test starts compile
# the package: a fourth of the time that the tests take.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-peers cov lint format docs campaign bench bench-peers gate gate-renew clean

help: ## Show this list
	@echo 'usage: make TARGET [ARGS="..."] [PYTHON=python3.13] [VENV=.venv]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(DEMO) ## Run the example that indexes the standard library, with ARGS
	@echo 'demo: understudy run examples/code_index $(ARGS)'
	@$(RUN) -m understudy run examples/code_index $(ARGS)

test: $(TEST) ## Run the tests; ARGS go to pytest
	@echo 'test: pytest -n auto --dist worksteal $(ARGS) (Python $(VERSION))'
	@$(RUN) -m pytest -q -n auto --dist worksteal $(ARGS)

test-peers: $(PEERS) ## Run what the pages say of other packages with these, in $(VENV)-peers
	@echo 'test-peers: pytest tests/peers $(ARGS) (Python $(VERSION))'
	@$(VENV)-peers/bin/python -m pytest -q tests/peers $(ARGS)

cov: $(TEST) ## Run the tests and measure branch coverage, which has a floor
	@echo 'cov: pytest -n auto --dist worksteal --cov $(ARGS) (Python $(VERSION))'
	@$(RUN) -m pytest -q -n auto --dist worksteal --cov --cov-report=term $(ARGS)

lint: $(LINT) ## Check format, style, types (with two checkers), what these refuse, and layers
	@echo 'lint: ruff'
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m ruff format --quiet --check . || { echo 'lint: not formatted; run make format'; exit 1; }
	@echo 'lint: mypy'
	@$(RUN) -m mypy
	@echo 'lint: pyright'
	@$(RUN) -m pyright --pythonpath $(RUN)
	@echo 'lint: pytest -m checkers'
	@$(RUN) -m pytest -q -m checkers tests/typing
	@echo 'lint: import-linter'
	@$(VENV)/bin/lint-imports --no-logo

format: $(LINT) ## Format the code and mend what can be mended by machine
	@$(RUN) -m ruff check --fix --quiet . || true
	@$(RUN) -m ruff format .

docs: $(MADE) ## Make the reference in docs/reference from the docstrings of the source
	@$(RUN) docs/_reference.py $(ARGS)

campaign: $(TEST) ## Simulate SCHEDULES runs of each scenario, and look for long where the tests look briefly
	@echo 'campaign: $(SCHEDULES) schedules for each scenario (Python $(VERSION))'
	@UNDERSTUDY_CAMPAIGN=1 UNDERSTUDY_SCHEDULES=$(SCHEDULES) $(RUN) -m pytest -q -n auto --dist worksteal --timeout=3600 $(CAMPAIGN) $(ARGS)

bench: $(BENCH) ## Run the benchmarks; ARGS go to them: --docs puts the figures into the docs
	@echo 'bench: python -m benchmarks $(ARGS) (Python $(VERSION))'
	@$(RUN) -m benchmarks $(ARGS)

bench-peers: $(BENCH) ## Measure other packages, in environments of their own below $(VENV)-bench-peers; ARGS as for bench
	@echo 'bench-peers: python -m benchmarks.peers $(ARGS) (Python $(VERSION))'
	@$(RUN) -m benchmarks.peers --venvs $(VENV)-bench-peers $(ARGS)

gate: $(BENCH) ## Compare how many instructions the hot path takes with those in benchmarks/gate.json
	@$(RUN) -m benchmarks.gate $(ARGS)

gate-renew: $(BENCH) ## Write those of each supported Python that is installed into benchmarks/gate.json
	@$(RUN) -m benchmarks.gate --renew $(ARGS)

clean: ## Remove the environments and what the tools leave behind
	rm -rf .venv .venv-peers .venv-bench-peers .venvs build dist htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that this Makefile did not make is kept when it has the right Python.
$(MADE):
	@if [ -z "$$(ls $(VENV)/.made-* 2>/dev/null)" ] && \
	    [ "$$($(RUN) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)" = $(VERSION) ] && \
	    $(RUN) -m pip --version >/dev/null 2>&1; then \
	  echo 'setup: using $(VENV) (Python $(VERSION))'; \
	else \
	  echo 'setup: creating $(VENV) (Python $(VERSION))'; \
	  $(PYTHON) -m venv --clear $(VENV); \
	fi
	@touch $@

$(DEMO): pyproject.toml $(MADE)
	@echo 'setup: installing understudy[cli] into $(VENV)'
	@$(INSTALL) --editable '.[cli]'
	@touch $@

$(TEST): pyproject.toml $(MADE)
	@echo 'setup: installing understudy[all] and the test tools into $(VENV)'
	@$(INSTALL_GROUPS) --editable '.[all]' --group test
	@touch $@

$(PEERS): pyproject.toml
	@echo 'setup: installing understudy, and what its pages compare it with, into $(VENV)-peers'
	@$(PYTHON) -m venv --clear $(VENV)-peers
	@$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[cli]' --group peers
	@touch $@

$(BENCH): pyproject.toml $(MADE)
	@echo 'setup: installing understudy[cli,websocket] and what it is measured against into $(VENV)'
	@$(INSTALL_GROUPS) --editable '.[cli,websocket]' --group bench
	@touch $@

$(LINT): pyproject.toml $(MADE)
	@echo 'setup: installing understudy[all] and the development tools into $(VENV)'
	@$(INSTALL_GROUPS) --editable '.[all]' --group dev
	@touch $@
