# make train, make test: each sets up everything it needs in .venv.
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= digits_mlp_pes
WORKDIR ?= runs/$(CONFIG)-$(shell date +%Y%m%d-%H%M%S)
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: train test test-slow lint types benchmark clean
.DEFAULT_GOAL := train

train: $(VENV)/.ready
	$(BIN)/lopt meta-train --config=$(CONFIG) --workdir=$(WORKDIR)

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n auto --dist loadfile -m slow

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-dev
	$(BIN)/basedpyright

benchmark: $(VENV)/.ready-dev
	$(BIN)/python tests/benchmarks/meta_step.py
	$(BIN)/python tests/benchmarks/apply_cost.py
	$(BIN)/python tests/benchmarks/checkpoint.py

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lopt needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.ready: $(VENV)/.created $(INPUTS)
	@echo "installing lopt into $(VENV)"
	$(INSTALL) -e .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.created $(INPUTS)
	@echo "installing lopt and its development tools into $(VENV)"
	$(INSTALL) -e '.[dev]'
	touch $@ $(VENV)/.ready

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
