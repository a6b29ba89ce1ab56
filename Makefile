PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Neither BentoML nor ONNX Runtime may report usage from here.
export BENTOML_DO_NOT_TRACK := True
export ORT_DISABLE_TELEMETRY := 1

.PHONY: venv demo test lint serve clean

venv: $(VENV)/.installed

# Made again whenever what is to be installed changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "alexnet needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

demo: venv
	$(BIN)/python scripts/demo.py

# A worker that dies ends the run with the name of its test; started again it could hang.
test: venv
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: venv
	$(BIN)/bentoml serve

clean:
	rm -rf $(VENV) runs
