# Two commands are enough on a fresh machine with Python 3.11+: `make demo` and `make test`.
# Everything is installed into .venv, pinned by constraints.txt; the second time nothing is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRA := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS := pyproject.toml constraints.txt

.PHONY: demo test lint serve bench clients clean
.DEFAULT_GOAL := demo

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "WatchNext needs Python 3.11 or newer; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-$(EXTRA): $(INPUTS) | $(BIN)/python
	@echo "installing into $(VENV) ($(EXTRA)); this happens once"
	$(PIP) -e '.[$(EXTRA)]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-$(EXTRA)
	$(PIP) -e '.[$(EXTRA),dev-$(EXTRA)]'
	@touch $@

# A small made world: videos encoded, viewers imported, a list served. ARGS="--check" exits after the answer.
demo: $(VENV)/.installed-$(EXTRA)
	@$(BIN)/watchnext demo $(ARGS)

# Side by side, a file at a time; ARGS="-n 0 -k NAME" runs some in one process.
test: lint
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile \
		--no-loadscope-reorder $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: $(VENV)/.installed-$(EXTRA)
	@$(BIN)/watchnext serve $(ARGS)

# make bench ARGS="quality --data FOLDER"
bench: $(VENV)/.installed-$(EXTRA)
	@$(BIN)/watchnext bench $(ARGS)

# After a change of the API: what of the clients follows from its description, written anew.
clients: $(VENV)/.installed-dev
	$(BIN)/python clients/generate.py

clean:
	rm -rf $(VENV) build *.egg-info
