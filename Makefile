# `make demo` and `make test` set up by themselves; a second call starts at once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
CORE   := $(VENV)/.core
JOBS   ?= 2

# pip takes what it installs, and what it builds elman with, at the pinned versions (the second name is that of newer pips).
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup core wheel demo test test-slow test-native lint format clean

help:
	@echo "make demo   set up, then run the main job on real data (about three minutes)"
	@echo "make test   set up, then run the tests"
	@echo "make lint   ruff and mypy          make test-slow   the tests that take minutes"
	@echo "make core   compile the core again after an edit in native/"
	@echo "make test-native   the core's own tests, under sanitizers of memory, undefined behaviour and threads (two minutes)"
	@echo "make wheel  a wheel with the compiled core, in dist/"
	@echo "make clean  remove what was built"

setup: $(READY)

# torch comes first and alone: the pinned version is a CPU build, an unpinned one may bring gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "elman needs Python 3.11 or later; $(PYTHON) is `$(PYTHON) --version`. Try: make setup PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $(READY) $(CORE)

# The core lies in src/elman, beside core.py; where there is no cmake, pip brings one for itself.
core: $(CORE)

$(CORE): $(READY) $(wildcard native/*.*)
	@if command -v cmake >/dev/null; then \
	  cmake -S native -B build/core && cmake --build build/core --parallel $(JOBS) && cmake --install build/core; \
	else $(BIN)/python -m pip install --quiet --no-deps -e .; fi
	@touch $(CORE)

wheel: $(READY)
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

demo: $(CORE)
	$(BIN)/elman demo

# one thread a worker: workers that each take every core fight over them, and small models gain nothing from two
test: $(CORE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

test-slow: $(CORE)
	$(BIN)/python -m pytest -m slow

# Needs cmake, and a compiler that has the sanitizers.
test-native:
	@for sanitizer in address,undefined thread; do \
	  echo "native tests, under the sanitizers of: $$sanitizer"; \
	  cmake -S native -B build/$$sanitizer -DELMAN_TESTS=ON -DELMAN_SANITIZE=$$sanitizer >/dev/null && \
	  cmake --build build/$$sanitizer --target elman_native_tests --parallel $(JOBS) >/dev/null && \
	  build/$$sanitizer/elman_native_tests || exit 1; \
	done

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist src/elman/libelman_core.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
