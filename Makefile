# The set-up is python -m venv and pip, nothing more; every command below can be typed by hand.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test dashboard check clean

demo: .venv/installed
	$(BIN)/python -m study.run --preset demo --workers 2

test: .venv/installed-dev
	$(BIN)/python -m pytest

dashboard: .venv/installed
	$(BIN)/python -m reports.dashboard

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m reports.build --check

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[png]"
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv
