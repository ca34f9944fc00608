# `make train` and `make test` set up a virtual environment on their first run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKDIR ?= runs/tiny_synthetic

.PHONY: train figures test oracle lint clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

train: $(VENV)/installed
	$(BIN)/python scripts/train.py --config configs/mtra.py:tiny_synthetic --workdir $(WORKDIR)

# Trains EW and MTRA on a clean checkout; rewrites the stored figures and the READMEs.
figures: $(VENV)/installed
	rm -rf runs/stored
	$(BIN)/python scripts/store_figures.py --workdir runs/stored

test: $(VENV)/installed
	$(BIN)/python -m pytest -n auto --dist loadfile

# PyTorch, for the tests that compare with it; they are skipped without.
oracle: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,oracle]'

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build *.egg-info
