# serve and test are all that most people need; each installs what it lacks into .venv, once, and again when pyproject.toml changes.
#   make serve ARGS="--port 8400"      make test ARGS="tests/net -x"      PYTHON=/path/to/python3.12 chooses the interpreter
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# an editable install names this directory: a moved checkout installs again
HERE := $(shell pwd | cksum | cut -d' ' -f1)
INSTALLED := $(VENV)/.installed-$(HERE)
INSTALLED_DEV := $(VENV)/.installed-dev-$(HERE)
ARGS ?=
export PYTHON

.PHONY: help serve compile test lint bench clean
.DEFAULT_GOAL := help

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

serve: $(INSTALLED) ## install, fetch the mini's weights and serve on 127.0.0.1:8400
	@$(BIN)/python scripts/compile.py --beside & exec $(BIN)/python -m shoal serve $(ARGS)

compile: $(INSTALLED) ## compile the request's path, which takes a minute (serve does it beside serving, for the next start)
	@$(BIN)/python scripts/compile.py

test: lint ## lint, types, layers and every test
	$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED_DEV) ## ruff, mypy, import-linter
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-logo

bench: $(INSTALLED_DEV) ## the benchmarks (see benchmarks/README.md)
	-@$(BIN)/python scripts/compile.py
	$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## remove what make and the tools made; what Shoal serves from (SHOAL_HOME) stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml scripts/venv.sh scripts/install.py
	@sh scripts/venv.sh $(VENV)
	@$(BIN)/python scripts/install.py
	@touch $@

$(INSTALLED_DEV): pyproject.toml scripts/venv.sh scripts/install.py
	@sh scripts/venv.sh $(VENV)
	@$(BIN)/python scripts/install.py dev distil clients || $(BIN)/python scripts/install.py dev distil
	@touch $@ $(INSTALLED)
