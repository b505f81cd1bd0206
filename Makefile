# `make run` is all it takes: see README.md. Settings come from .env and the environment: see .env.example.
VENV ?= .venv
# The first Python that is new enough; PYTHON=... chooses another one.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
endif
BIN := $(VENV)/bin
ARGS ?=
MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help setup run test lint style format types migrations torture bench requirements python packages dev chromium

help:  ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 20

setup: packages  ## Set everything up and start nothing; afterwards .venv/bin/python manage.py works
	@$(BIN)/python manage.py bootstrap

run: packages  ## Set up what is missing, then start Memory Hub; Ctrl-C stops it
	@exec $(BIN)/python manage.py start

test: dev chromium  ## Run all tests, on SQLite and on PostgreSQL (ARGS="tests/test_x.py -k y" for some)
	@$(BIN)/python -m tests.run $(ARGS)

lint: style format types migrations  ## Check style, types and migrations

style: dev
	$(BIN)/ruff check

format: dev
	$(BIN)/ruff format --check

types: dev
	$(BIN)/mypy .

migrations: dev
	$(BIN)/python manage.py makemigrations --check --dry-run

torture: dev  ## Try to break sync for MINUTES (10), each time in another way (ARGS="--seed 7": the same again)
	@$(BIN)/python -m tests.torture --minutes $(MINUTES) $(ARGS)

bench: dev  ## Measure (what, and the last results: benchmarks/)
	@$(BIN)/python -m benchmarks $(ARGS)

requirements: dev  ## Pin what the .in files ask for (ARGS=--upgrade: the newest they allow)
	@for name in requirements requirements-dev; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--no-header --no-annotate --no-emit-index-url $(ARGS) $$name.in -o $$name.txt || exit 1; done

# --- Steps of the above ------------------------------------------------------------------------------------

python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
		"Memory Hub needs Python 3.11 or newer, and found none: install one, or name it: make PYTHON=/path/to/python3" \
		>&2; exit 1; }

packages: python
	@$(PYTHON) -m memoryhub.install --venv "$(VENV)"

dev: python
	@$(PYTHON) -m memoryhub.install --venv "$(VENV)" --dev

chromium:
	@bash tests/servers/chromium.sh
