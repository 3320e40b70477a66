# Everything that the project needs is installed into $(VENV) by the rules below, never by hand.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# Installing hundreds of small files is faster without compiling them first.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Dependency groups are new in pip 25.1; a new environment may have an older one.
GROUP = $(PIP) install --upgrade 'pip>=25.1' && $(PIP) install --group
# LOCKED=1 installs the very files whose hashes .ci/ names, and not the newest that fit. PyTorch alone has none: its build
# for the CPU is another file on each kind of machine.
HASHED := install --no-deps --require-hashes --requirement

RUNTIME := $(VENV)/.installed
TEST := $(VENV)/.installed-test
DOCS := $(VENV)/.installed-docs
FUZZ := $(VENV)/.installed-fuzz
BROWSER := $(VENV)/.installed-browser
# Scanners and converters of others, in an environment of their own: what they need must not change what we need.
PEERS := $(VENV)-peers/.installed
PEER_PACKAGES := picklescan==1.0.5 pt-safe-loader==0.1.4
# The scanners of the scorecard, likewise.
SCANNERS := $(VENV)-scanners/.installed
SCANNER_PACKAGES := picklescan==1.0.5 modelscan==0.8.8 modelaudit==0.2.54 fickling==0.1.12
# What builds releases, and what writes the locks.
RELEASE := $(VENV)-release/.installed
LOCKER := $(VENV)-locker/.installed

.PHONY: help demo demo-data test coverage lint format bench scorecard fuzz mutations browser docs dist lock-dependencies test-pythons clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "aiverify needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml | $(BIN)/python
	@echo "Installing aiverify into $(VENV) …"
ifdef LOCKED
	@$(PIP) $(HASHED) .ci/development.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
else
	@$(PIP) install --editable .
endif
	@touch $@

# PyTorch first, at its pinned version: the other packages then find it and do not fetch a build for graphics cards.
$(TEST): $(RUNTIME)
	@echo "Installing the test environment into $(VENV) (PyTorch for the CPU and other oracles) …"
ifdef LOCKED
	@$(PIP) install --no-deps 'torch==2.13.0'
else
	@$(PIP) install 'torch==2.13.0'
	@$(GROUP) test
endif
	@touch $@

$(DOCS): $(RUNTIME)
	@echo "Installing the documentation tools into $(VENV) …"
ifndef LOCKED
	@$(GROUP) docs
endif
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

$(RELEASE): .ci/release.txt
	@$(PYTHON) -m venv $(VENV)-release
	@$(VENV)-release/bin/python -m pip --disable-pip-version-check --quiet $(HASHED) .ci/release.txt
	@touch $@

$(LOCKER): Makefile
	@$(PYTHON) -m venv $(VENV)-locker
	@$(VENV)-locker/bin/python -m pip --disable-pip-version-check --quiet install uv==0.13.9
	@touch $@

$(FUZZ): $(TEST)
	@echo "Installing the fuzzing engine into $(VENV) …"
	@$(GROUP) fuzz
	@touch $@

$(BROWSER): $(TEST)
	@echo "Installing what drives a browser into $(VENV) …"
	@$(GROUP) browser
	@touch $@

demo: $(RUNTIME) ## Run the whole main job on four small repositories, without a network
	@$(BIN)/aiverify demo

test: lint ## Run lint, types and all tests
	@$(BIN)/python -m pytest --numprocesses auto

coverage: $(TEST) ## Run all tests, and list the lines that none of them runs
	@$(BIN)/python -m pytest --numprocesses auto --cov --cov-report term

PYTHONS ?=
test-pythons: ## Run the tests that need no PyTorch under PYTHONS, or under every Python from 3.11 on that is found
	@VENV=$(VENV) .ci/pythons $(PYTHONS)

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

CHROMIUM ?= chromium
browser: $(BROWSER) ## Open the HTML report in a headless Chromium (CHROMIUM=…; Debian has one)
	@command -v $(CHROMIUM) > /dev/null || { echo "There is no $(CHROMIUM): apt-get install chromium, or make browser CHROMIUM=…"; exit 2; }
	@CHROMIUM=$$(command -v $(CHROMIUM)) $(BIN)/python -m pytest tests/reporters/test_html_in_a_browser.py

demo-data: $(TEST) ## Make the sample repositories of the demo again
	@$(BIN)/python tests/make_demo_data.py

docs: $(DOCS) ## Build the documentation site into docs/site
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/pictures.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/mkdocs.yml

dist: $(RELEASE) ## Build wheel and sdist into dist/, twice to compare them, and list what aiverify needs (SBOM)
	@PYTHON=$(CURDIR)/$(VENV)-release/bin/python .ci/build

lock-dependencies: $(LOCKER) ## Resolve all dependencies anew and write their hashes into .ci/
	@UV=$(VENV)-locker/bin/uv .ci/lock

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) $(VENV)-peers $(VENV)-scanners $(VENV)-release $(VENV)-locker $(VENV)-pythons docs/site .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
