# Everything a newcomer types. `make` alone prints this list.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ORACLES := .venv-oracles/.installed
TEST_ARGS ?=

.PHONY: help install label-studio demo loop test test-all lint bench gpu clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml $(wildcard pipeline/metrics/c/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo]'
	@# Its requirements name the long obsolete "typing" package, which must not be installed.
	$(BIN)/python -m pip install --quiet --no-deps cityscapesScripts
	touch $(STAMP)

install: $(STAMP)  ## make .venv with everything

# Programs of others that read what we write; they want other versions than we do. Where they
# cannot be installed their tests are skipped, visibly.
$(ORACLES): tests/oracles/requirements.txt tests/oracles/requirements-bare.txt
	-$(PYTHON) -m venv .venv-oracles
	-.venv-oracles/bin/python -m pip install --quiet --no-deps -r tests/oracles/requirements-bare.txt
	-.venv-oracles/bin/python -m pip install --quiet -r tests/oracles/requirements.txt && touch $@

# A server of others, for the slow tests of push and pull; it takes a gigabyte and some minutes.
label-studio:  ## make .venv-label-studio, which tests of push and pull start on loopback
	$(PYTHON) -m venv .venv-label-studio
	.venv-label-studio/bin/python -m pip install --quiet label-studio

demo: $(STAMP)  ## pull the default model and label real pictures into demo/
	$(BIN)/python examples/demo.py demo

loop: $(STAMP)  ## pre-label, select, correct, finetune, pre-label again: what it gained, into loop/
	$(BIN)/python examples/loop.py loop

test: $(STAMP) $(ORACLES)  ## the tests but slow and thorough ones, and how many those are
	$(BIN)/python -m pytest -m "not slow and not thorough" -n 2 --dist worksteal $(TEST_ARGS)

test-all: $(STAMP) $(ORACLES)  ## every test, nothing left out
	@# The thorough ones among the quick; the slow ones two files at a time, apart from them: most
	@# start engines of their own, which a whole file shares.
	failed=0; \
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal $(TEST_ARGS) || failed=1; \
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile $(TEST_ARGS) || failed=1; \
	exit $$failed

lint: $(STAMP)  ## ruff, mypy --strict, and the warnings of the C compiler
	$(BIN)/ruff check .
	@# mypy sees the package as it is installed: through a folder of links.
	rm -rf .mypy_view && mkdir -p .mypy_view/maskmill
	cd .mypy_view/maskmill && ln -sfn ../../maskmill/*.* ../../schemas ../../pipeline ../../jobs .
	$(BIN)/mypy
	@# What is compiled, where there is a compiler.
	include=$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('include'))"); \
	if command -v cc >/dev/null && [ -f $$include/Python.h ]; then \
	  cc -fsyntax-only -std=c11 -O2 -Wall -Wextra -Werror -Wno-unused-parameter -I$$include \
	    pipeline/metrics/c/*.c; \
	fi

bench: $(STAMP)  ## the figures of docs/benchmarks.md, one JSON line each
	$(BIN)/python benchmarks/run.py

gpu: $(STAMP)  ## what only a GPU can tell, into benchmarks/results/; without one, why not
	$(BIN)/python tests/gpu/accept.py

clean:  ## remove what make made
	rm -rf $(VENV) .venv-oracles .venv-label-studio demo loop build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
