# Everything a developer runs. Needs python3.11 (or newer), make and a package index.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# What MLflow's server needs beside its client, for the test that logs to one. The package mlflow would hold others back.
MLFLOW_SERVER := "aiohttp>=3.7" "alembic>=1.10" "flask>=3" "flask-cors>=5" "graphene>=3.4" "huey>=2.5" "sqlalchemy>=2"

.PHONY: help demo test soak check bench core full clean

help:
	@echo "make demo   install the core into .venv and fit a first model"
	@echo "make test   install everything the tests need and run them"
	@echo "make check  formatter, linter, types and the order of the rooms"
	@echo "make bench  measure the main job against plain references"
	@echo "make soak   the long tests: kill storms, growth"

demo: core
	$(BIN)/headstart demo

# A process for each core, of one thread each; the tests of one file share what they set up.
test: full
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

soak: full
	$(BIN)/python -m pytest -m soak

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

bench: full
	$(BIN)/python bench/main_job.py

core: $(VENV)/.core
full: $(VENV)/.full

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The package itself is installed in editable mode, so that the sources here are what runs.
$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)/.check: pyproject.toml | $(VENV)/.core
	$(PIP) "import-linter>=2.1" "mypy>=1.14" "ruff>=0.9"
	touch $@

$(VENV)/.full: pyproject.toml | $(VENV)/.core
	$(PIP) --editable ".[train,lora,explain,open-clip,transformers,more-weights,tensorboard,mlflow,heic,multichannel,export,serve,ui]" "hypothesis>=6.120" "pandas>=2.2" "playwright>=1.50" "psutil>=6.1" "pytest>=8.3" "pytest-xdist>=3.6" "schemathesis>=4.0" $(MLFLOW_SERVER)
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
