# make train, make test: each sets up everything it needs in .venv.
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= digits_mlp_pes
WORKDIR ?= runs/$(CONFIG)-$(shell date +%Y%m%d-%H%M%S)
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: train test test-slow test-isa lint types docs docs-links benchmark clean
.DEFAULT_GOAL := train

train: $(VENV)/.ready
	$(BIN)/lopt meta-train --config=$(CONFIG) --workdir=$(WORKDIR)

test: $(VENV)/.ready-dev
	$(PYTEST)

test-slow: $(VENV)/.ready-dev
	$(PYTEST) -m slow

# Instruction sets order float32 sums differently; each is tried, also after one has failed.
test-isa: $(VENV)/.ready-dev
	@status=0; for isa in SSE4_2 AVX2 AVX512; do \
	  echo "instruction set $$isa"; \
	  XLA_FLAGS="$$XLA_FLAGS --xla_cpu_max_isa=$$isa" $(PYTEST) || status=1; \
	done; exit $$status

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-dev
	$(BIN)/basedpyright

# Tutorials are executed, which takes some minutes; what has not changed is taken from the cache.
SPHINX := PATH="$(abspath $(BIN)):$$PATH" $(BIN)/sphinx-build -W --keep-going docs docs/_build

docs: $(VENV)/.ready-docs
	$(SPHINX)/html -b html
	@echo "docs/_build/html/index.html"

docs-links: $(VENV)/.ready-docs
	$(SPHINX)/links -b linkcheck

benchmark: $(VENV)/.ready-dev
	$(BIN)/lopt benchmark --cores=1
	$(BIN)/python tests/benchmarks/checkpoint.py

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lopt needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.ready: $(VENV)/.created $(INPUTS)
	@echo "installing lopt into $(VENV)"
	$(INSTALL) -e '.[train]'
	touch $@

$(VENV)/.ready-dev: $(VENV)/.created $(INPUTS)
	@echo "installing lopt and its development tools into $(VENV)"
	$(INSTALL) -e '.[dev]'
	touch $@ $(VENV)/.ready

$(VENV)/.ready-docs: $(VENV)/.created $(INPUTS)
	@echo "installing lopt and what builds its documentation into $(VENV)"
	$(INSTALL) -e '.[docs]'
	touch $@ $(VENV)/.ready

clean:
	rm -rf $(VENV) build docs/_build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
