# make demo: the main job on the bundled example. make test: every test that needs no GPU.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# hashes are checked for everything that is installed; the project itself goes in without a build
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo serve check test test-slow bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

install: $(INSTALLED) ## make the environment in .venv

demo: $(INSTALLED) ## import, certify, judge, rank and report on the bundled example
	@$(BIN)/python -m examples.demo

serve: $(INSTALLED) ## start the service on http://127.0.0.1:8000
	$(BIN)/tribunal serve

check: $(INSTALLED) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## everything that needs no GPU
	$(BIN)/python -m pytest -n 2

test-slow: $(INSTALLED) ## the long simulations, with their figures
	$(BIN)/python -m pytest -m slow -s

bench: $(INSTALLED) ## ratios against named baselines
	$(BIN)/python -m benchmarks

lock: ## resolve dependencies anew
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --extra test --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --strip-extras --allow-unsafe --output-file requirements.lock pyproject.toml

clean: ## remove what the targets made
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
