# Every target sets up all it needs in .venv; a fresh machine needs Python 3.11, 3.12 or 3.13 and pip.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do \
	$$p -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS ?=
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM ?= true

.PHONY: help install demo test test-slow attack check format docs bench clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Make .venv with everything in it

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "llmrec needs Python 3.11, 3.12 or 3.13; name one: make install PYTHON=/path/to/python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		$(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[all,docs,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt --no-deps recbole
	@touch $@

demo: install ## From nothing to ranked products, titles and one page in minutes; leaves runs/demo/report.html
	$(BIN)/llmrec demo

test: install ## Run the tests on two processes, the slow ones left out
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope

test-slow: install ## Run the slow tests alone
	$(BIN)/python -m pytest -m slow

attack: install ## Change files, kill commands, meddle with machines (hours; SEED=, MUTATIONS=, ARGS=)
	$(BIN)/python scripts/attack.py $(ARGS)

check: install ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install ## Build the documentation site, site/index.html; neither the build nor the pages ask another host
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: install ## Measure speed and memory: seconds, peak, ratio to the plain way
	$(BIN)/python scripts/bench.py all

clean: ## Remove .venv and caches; runs/ stays
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
