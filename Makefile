# `make` lists the targets.  Needs python3 (3.11 or newer) with venv, and PyPI.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
TAG = $(shell $(BIN)/python -c 'import sys; print("py%d%d" % sys.version_info[:2])')

.PHONY: help demo test clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 8

demo: .venv/.installed  ## install into .venv and run examples/demo.py
	$(BIN)/python examples/demo.py

test: .venv/.tox  ## run the quick tests, ruff, mypy and the documentation build with tox
	$(BIN)/python -m tox run -e $(TAG),lint,types,docs

clean:  ## remove everything that was built, except .venv
	rm -rf .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist site
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bvverify needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

.venv/.tox: constraints.txt | $(BIN)/python
	$(INSTALL) tox
	@touch $@
