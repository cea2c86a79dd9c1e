# Everything goes through the project's own environment in .venv; paths stay relative, so a folder with spaces is fine.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null \
	&& { command -v "$$p"; break; }; done)
RUN := .venv/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt
# Compiled here on all cores, and torch while the rest comes: pip would on one. What few import is left to its first import.
COMPILE := $(RUN) -m compileall -qq -x '/tests/|/transformers/models/|/databricks/'
unexport PYTHONDONTWRITEBYTECODE  # containers set it; each of some thousand processes would compile what it imports

.DEFAULT_GOAL := help
.PHONY: help install demo down test test-full lint types imports unit reference wheel bench accept mutants crash-matrix gpu-check screenshots lock clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/.developing ## Make .venv with everything pinned by constraints.txt, what developing needs too

EXTRAS := airflow,training,serving
# What the demo needs. Nobody waits for mypy and transformers before the first look.
.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed: make install PYTHON=/path/to/python3.11"; exit 1; }
	@echo "[1/3] making .venv with $(PYTHON)"
	@"$(PYTHON)" -m venv .venv
	@echo "[2/3] installing torch"
	@$(PIP) torch==2.13.0
	@echo "[3/3] installing Airflow, MLflow, DVC, Optuna, Great Expectations and BentoML (some minutes the first time)"
	@$(COMPILE) .venv/lib & $(PIP) setuptools hatchling editables; \
	$(PIP) --no-build-isolation --use-pep517 --editable '.[$(EXTRAS)]' && wait
	@$(COMPILE) -j 0 .venv/lib || true  # some templates are no Python
	@echo "$(EXTRAS)" > .venv/.installed

.venv/.developing: EXTRAS := airflow,training,serving,llm,dev# also of .venv/.installed, where that is made for this one
.venv/.developing: .venv/.installed
	@grep -qx "$(EXTRAS)" .venv/.installed || { echo "installing what tests, checks and fine-tuning need"; \
	$(PIP) --no-build-isolation --use-pep517 --editable '.[$(EXTRAS)]' && { $(COMPILE) -j 0 .venv/lib || true; }; }
	@touch .venv/.developing

demo: .venv/.installed ## Take the digits from a commit to a served, traceable model
	@$(RUN) -m airloom demo

down: .venv/.installed ## Stop the stack
	@$(RUN) -m airloom down

test: .venv/.developing lint ## Everything that a fresh machine can run
	@echo "tests: units and DAGs on all cores, and beside them the whole system on a started stack, which often waits"
	@$(RUN) -m pytest -q --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile --durations 25

test-full: .venv/.developing lint ## The same with every long matrix whole; keeps docs/acceptance/test-full.md
	@$(RUN) -m pytest -q --full

reference: .venv/.developing ## Write docs/reference/ anew
	@$(RUN) docs/reference.py

wheel: .venv/.developing ## Build the package into dist/, with constraints.txt beside it
	@$(RUN) -m hatchling build -t wheel && cp constraints.txt dist/

lint: .venv/.developing ## Style
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check --quiet .

types: .venv/.developing ## Types, strict; a test of the units does the same, beside the others
	@$(RUN) -m mypy

imports: .venv/.developing ## Who may import whom; a test of the units does the same
	@.venv/bin/python -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

unit: .venv/.developing ## The quick tests, without the started stack
	@$(RUN) -m pytest -q -m "not system" --numprocesses auto --dist loadfile

bench: .venv/.developing ## One benchmark: make bench NAME=pipeline
	@$(RUN) -m "benchmarks.$(NAME)"

accept: .venv/.developing ## Try every promise in a fresh clone: make accept NAME=loop
	@$(RUN) tests/acceptance/run.py "$(NAME)"

mutants: .venv/.developing ## Switch off one guard at a time; its test must go red
	@$(RUN) tests/mutants/run.py

crash-matrix: .venv/.developing ## SIGKILL of every process at every point; keeps docs/acceptance/crash-matrix.md
	@PYTHONPATH=tests $(RUN) -m crash.matrix

gpu-check: .venv/.developing ## What only a GPU can show, in 8 minutes; keeps docs/acceptance/gpu-check.md
	@PYTHONPATH=tests $(RUN) -m gpu.check

screenshots: .venv/.developing ## Renew the pictures of the README from the running demo
	@$(RUN) docs/screenshots.py

lock: ## Resolve everything anew into constraints.txt
	@rm -rf .venv-lock && "$(PYTHON)" -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet torch==2.13.0 hatchling editables
	@.venv-lock/bin/python -m pip install --quiet '.[airflow,training,serving,llm,dev]'
	@set -o pipefail; { echo "# One resolution of everything, for every role. \`make lock\` renews it."; \
	   .venv-lock/bin/python -m pip freeze --exclude airloom | sed -E 's/\+[a-z0-9.]+$$//' | grep '==' | sort -f; } > .venv-lock/new
	@cp .venv-lock/new constraints.txt && rm -rf .venv-lock

clean: ## Remove caches (never the state folder)
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
