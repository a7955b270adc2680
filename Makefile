# Everything runs inside .venv, which each target makes when it is missing or older than the requirement files.
#
#   make quickstart   environment, then the whole pipeline on CPU; the report is runs/quickstart/report.html
#   make test         environment, then all tests
#   make check        lint, format, types, import direction, file and function length
#   make smoke        a run of the whole pipeline on the smallest recipe
#
# A torch already in .venv is kept. To start from a CPU build (saves about 5 GB of download):
#   make env TORCH_INDEX=https://download.pytorch.org/whl/cpu

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

DATA_ROOT ?= datasets
WEIGHTS_ROOT ?= weights
TORCH_INDEX ?=
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

VENV := .venv
STAMP := $(VENV)/.ready
BIN := $(VENV)/bin
PY := $(BIN)/python
# One test process per core with one thread each: small tensors gain nothing from more threads. Whole files, so that fixtures are built once.
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN)
ROOTS := --data-root $(DATA_ROOT) --weights-root $(WEIGHTS_ROOT)
STRUCTURE := tests/unit/test_architecture.py
PACKAGES := train.py configs data models training reasoning eval bench

.PHONY: help env quickstart test check smoke

help:
	@sed -n '3,9p' Makefile

env: $(STAMP)

$(STAMP): requirements.txt requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Focal needs Python 3.11 or newer; name one with 'make PYTHON=/path/to/python3 ...'" >&2; exit 2; }
	test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	@if [ -n "$(TORCH_INDEX)" ] && ! $(PY) -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then \
		$(PY) -m pip install --index-url "$(TORCH_INDEX)" "$$(grep '^torch[><=]' requirements.txt)" \
			"$$(grep '^torchvision[><=]' requirements.txt)" "$$(grep '^torchaudio[><=]' requirements.txt)"; fi
	@$(PY) -c 'import importlib.metadata as m; found = [d for d in m.distributions() if d.name == "torch"]; [print(f"torch=={d.version}") for d in found]' \
		> $(VENV)/keep-torch.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c $(VENV)/keep-torch.txt
	@touch $@

quickstart: $(STAMP)
	$(PY) train.py configs/quickstart.yaml data.root=$(DATA_ROOT) weights.root=$(WEIGHTS_ROOT)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile $(ROOTS) tests

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(wildcard $(PACKAGES))
	OMP_NUM_THREADS=1 $(PY) -m pytest $(STRUCTURE)

# A smoke run starts over each time: a finished run would otherwise be resumed, and prove nothing.
smoke: $(STAMP)
	rm -rf runs/tiny
	OMP_NUM_THREADS=1 $(PY) train.py configs/smoke/tiny.yaml data.root=$(DATA_ROOT) weights.root=$(WEIGHTS_ROOT)

