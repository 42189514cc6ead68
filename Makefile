# Everything a newcomer types. `make` alone prints this list.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_ARGS ?=

.PHONY: help demo test lint bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo]'
	touch $(STAMP)

install: $(STAMP)  ## make .venv with everything

demo: $(STAMP)  ## pull the default model and label real pictures into demo/
	$(BIN)/python examples/demo.py demo

test: $(STAMP)  ## every test (TEST_ARGS='-m "not slow"' for the quick ones)
	$(BIN)/python -m pytest $(TEST_ARGS)

lint: $(STAMP)  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)  ## the figures of docs/benchmarks.md, one JSON line each
	$(BIN)/python benchmarks/run.py

clean:  ## remove what make made
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
