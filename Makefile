# `make demo` and `make test` set up by themselves; a second call starts at once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
JOBS   ?= 2

.PHONY: help setup demo test test-slow lint format clean

help:
	@echo "make demo   set up, then run the main job on real data (about three minutes)"
	@echo "make test   set up, then run the tests"
	@echo "make lint   ruff and mypy          make test-slow   the tests that take minutes"
	@echo "make clean  remove what was built"

setup: $(READY)

# torch comes first and alone: the pinned version is a CPU build, an unpinned one may bring gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "elman needs Python 3.11 or later; $(PYTHON) is `$(PYTHON) --version`. Try: make setup PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/elman demo

# one thread a worker: workers that each take every core fight over them, and small models gain nothing from two
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
