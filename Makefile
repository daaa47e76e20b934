# Everything sets itself up in .venv; all it takes is Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-full test-long check clean

demo: $(VENV)/core
	$(BIN)/spikeline demo

test: $(VENV)/all
	tools/check

test-full: $(VENV)/all
	$(BIN)/python -m pytest -m ""

test-long: $(VENV)/all
	$(BIN)/python tools/long_run.py

check: test

# The core alone: no torch.
$(VENV)/core: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# Torch by itself first, so that nothing that depends on it chooses another build.
$(VENV)/all: pyproject.toml $(VENV)/core
	$(BIN)/python -m pip install --quiet "torch==2.13.*"
	$(BIN)/python -m pip install --quiet --editable ".[train,test]"
	touch $@

clean:
	find . -path ./$(VENV) -prune -o -name '*.nb?' -print | xargs rm -f  # Numba's cache: it misses changes across files
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
