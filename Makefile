# The set-up is python -m venv and pip, nothing more; every command below can be typed by hand.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo full test dashboard check clean

demo: .venv/installed
	$(BIN)/python -m study.run --preset demo --workers 2

# The full protocol on whatever the machine has, in the order of what it is worth: a teacher where none is stored, both
# points that the original calls its best, the grid to its end, TPE from there. Days on two cores, and each step says how
# many; it may be stopped anywhere and goes on. In the precision that is faster here, but for a study that was begun in
# another; PRECISION=float32 begins one in that. OPTIONS are of each step: OPTIONS="--data-dir DIR".
FULL = study.run --study full --precision $(PRECISION) $(OPTIONS)
ARMS := --arm 0.25,4 --arm 0.75,4
full: .venv/installed
	$(eval PRECISION ?= $(shell $(BIN)/python -m study.device --study full $(OPTIONS)))
	$(BIN)/python -m $(FULL) --sampler grid --pruner none $(ARMS) --dry-run > /dev/null # or it is refused after days
	! $(BIN)/python -m $(FULL) --sampler none $(ARMS) --dry-run | grep "none is stored" || \
		$(BIN)/python -m study.teacher --network resnet32x4 --precision $(PRECISION) $(OPTIONS) \
		--recipe $$($(BIN)/python -m study.device --recipe $(OPTIONS))
	$(BIN)/python -m $(FULL) --sampler none $(ARMS) || [ $$? = 3 ]
	$(BIN)/python -m $(FULL) --sampler grid --pruner none $(ARMS) || [ $$? = 3 ]
	$(BIN)/python -m $(FULL) --sampler tpe --n-trials 16 $(ARMS)

test: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

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
