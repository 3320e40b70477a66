# Everything that the project needs is installed into $(VENV) by the rules below, never by hand.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# Installing hundreds of small files is faster without compiling them first.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

RUNTIME := $(VENV)/.installed
TEST := $(VENV)/.installed-test
DOCS := $(VENV)/.installed-docs
FUZZ := $(VENV)/.installed-fuzz
# Scanners and converters of others, in an environment of their own: what they need must not change what we need.
PEERS := $(VENV)-peers/.installed
PEER_PACKAGES := picklescan==1.0.5 pt-safe-loader==0.1.4
# The scanners of the scorecard, likewise.
SCANNERS := $(VENV)-scanners/.installed
SCANNER_PACKAGES := picklescan==1.0.5 modelscan==0.8.8 modelaudit==0.2.54 fickling==0.1.12

.PHONY: help demo demo-data test lint format bench scorecard fuzz mutations docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "aiverify needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml | $(BIN)/python
	@echo "Installing aiverify into $(VENV) …"
	@$(PIP) install --editable .
	@touch $@

# PyTorch first, at its pinned version: the other packages then find it and do not fetch a build for graphics cards.
$(TEST): $(RUNTIME)
	@echo "Installing the test environment into $(VENV) (PyTorch for the CPU and other oracles) …"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install 'torch==2.13.0'
	@$(PIP) install --group test
	@touch $@

$(DOCS): $(RUNTIME)
	@echo "Installing the documentation tools into $(VENV) …"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group docs
	@touch $@

$(PEERS): Makefile
	@echo "Installing the peers into $(VENV)-peers …"
	@$(PYTHON) -m venv $(VENV)-peers
	@$(VENV)-peers/bin/python -m pip --disable-pip-version-check --quiet install $(PEER_PACKAGES)
	@touch $@

$(SCANNERS): Makefile
	@echo "Installing other scanners into $(VENV)-scanners …"
	@$(PYTHON) -m venv $(VENV)-scanners
	@$(VENV)-scanners/bin/python -m pip --disable-pip-version-check --quiet install $(SCANNER_PACKAGES)
	@touch $@

$(FUZZ): $(TEST)
	@echo "Installing the fuzzing engine into $(VENV) …"
	@$(PIP) install --group fuzz
	@touch $@

demo: $(RUNTIME) ## Run the whole main job on four small repositories, without a network
	@$(BIN)/aiverify demo

test: lint ## Run lint, types and all tests
	@$(BIN)/python -m pytest --numprocesses auto --cov --cov-report term

lint: $(TEST) ## Check style (ruff) and types (mypy)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(TEST) ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(TEST) $(PEERS) ## Measure speed and memory
	@$(BIN)/python -m tests.benchmarks --peers $(VENV)-peers/bin

scorecard: $(TEST) $(SCANNERS) ## Give attacks and benign files to aiverify and to other scanners
	@PYTHONPATH=tests $(BIN)/python -m scorecard --peers $(VENV)-scanners/bin

RUNS ?= 10000000
WORKERS ?= 1
TARGET ?= pickle_machine
fuzz: $(FUZZ) ## Compare the pickle machine with CPython on RUNS streams (TARGET=onnx, …: a reader); can be taken up again
	@PYTHONPATH=tests $(BIN)/python -m tests.fuzz $(TARGET) --runs $(RUNS) --workers $(WORKERS)

mutations: $(TEST) ## Break the pickle machine and the judgement on purpose, and see that a test notices each break
	@$(BIN)/python -m tests.mutations

demo-data: $(TEST) ## Make the sample repositories of the demo again
	@$(BIN)/python tests/make_demo_data.py

docs: $(DOCS) ## Build the documentation site into docs/site
	@$(BIN)/python docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/mkdocs.yml

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) $(VENV)-peers $(VENV)-scanners docs/site .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
