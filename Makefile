# `make` or `make help` lists what can be done. Every target installs what it needs first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test faults bench check format results clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) ## make the environment in .venv (TORCH_INDEX=URL takes torch from another index)

# Only the build of visdom needs the constraint; a plain PIP_CONSTRAINT would pin the wrong things.
$(READY): export PIP_BUILD_CONSTRAINT := $(CURDIR)/build-constraints.txt
$(READY): pyproject.toml build-constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade "pip>=25.3"
ifdef TORCH_INDEX
	$(RUN) -m pip install --quiet --index-url $(TORCH_INDEX) torch torchvision
endif
	$(RUN) -m pip install --quiet --editable ".[visdom]" --group dev
	touch $@

demo: $(READY) ## labels to boxes on a small synthetic world, both ways; report in runs/demo
	$(RUN) -m tools.demo --run-dir runs/demo

test: $(READY) ## the test suite (real images too when VOC_ROOT is set)
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile

faults: $(READY) ## kill, fill, damage and cut off everything, for a quarter of an hour
	$(RUN) -m pytest -n 2 --dist load -m slow

bench: $(READY) ## measure speed, row by row beside other ways (ONLY="B G" for some rows)
	$(RUN) -m tests.benchmarks.run $(if $(ONLY),--only $(ONLY))

check: $(READY) ## format, lint, types, imports
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

format: $(READY) ## rewrite the sources in the house format
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

results: $(READY) ## train and evaluate every row of the tables that has no result yet (needs VOC_ROOT)
	$(RUN) -m tools.make_results $(if $(WEIGHTS_DIR),--weights-dir $(WEIGHTS_DIR))

clean: ## remove the environment and the caches (never runs/)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build ./*.egg-info
