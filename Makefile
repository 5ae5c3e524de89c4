# The set-up is python -m venv and pip, nothing more; every command below can be typed by hand.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo full test dashboard check clean

demo: .venv/installed
	$(BIN)/python -m study.run --preset demo --workers 2

# The full protocol, for a CUDA GPU: the teacher, all 16 points to the end, TPE from there, every arm over five seeds.
# It may be stopped anywhere and goes on.
full: .venv/installed
	$(BIN)/python -m study.teacher --network resnet32x4 --recipe large-batch --device cuda
	$(BIN)/python -m study.run --sampler tpe --n-trials 32 --pruner none --arm 0.25,4 --arm 0.75,4 --device cuda

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
