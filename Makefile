# `make train` and `make test` set up a virtual environment on their first run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKDIR ?= runs/tiny_synthetic

INSTALL = $(BIN)/pip install --quiet --constraint constraints.txt --editable
PYTEST = $(BIN)/python -m pytest -n auto --dist worksteal
SLOW = processes or hostile or slow or nightly or benchmark

# Set-ups share one environment.
.NOTPARALLEL:
.PHONY: train figures test test-slow test-all nightly oracle lint clean

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) '.[test]'
	touch $@

train: $(VENV)/installed
	$(BIN)/python scripts/train.py --config configs/mtra.py:tiny_synthetic --workdir $(WORKDIR)

# Trains EW, the sum of the losses and MTRA on a clean checkout; rewrites the stored figures and the READMEs.
figures: $(VENV)/installed
	rm -rf runs/stored
	$(BIN)/python scripts/store_figures.py --workdir runs/stored

# The fast tier; tests/README.md describes the others.
test: $(VENV)/installed
	$(PYTEST)

test-slow: $(VENV)/installed
	$(PYTEST) --dist loadfile -m "$(SLOW)"

test-all: test test-slow

# The tests with a longer mode, in that mode.
nightly: $(VENV)/installed
	KILLS=300 HOSTILE_EXAMPLES=2000 $(PYTEST) -m nightly

# PyTorch, for the tests that compare with it, and the extras that tests need; they are
# skipped without.
oracle: | $(BIN)/pip
	$(INSTALL) '.[test,oracle,plots,search,onnx]'
	touch $(VENV)/installed

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info
