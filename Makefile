PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A file's tests stay together, for they share what they set up. Three processes keep two cores busy:
# many tests wait for others. One that dies ends the run with the name of its test; started again it
# could hang.
PYTEST := $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
# Neither BentoML nor ONNX Runtime may report usage from here.
export BENTOML_DO_NOT_TRACK := True
export ORT_DISABLE_TELEMETRY := 1

.PHONY: venv demo test test-slow lint serve clean

venv: $(VENV)/.installed

# Made again whenever what is to be installed changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "alexnet needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

demo: venv
	$(BIN)/python scripts/demo.py

test: venv
	$(PYTEST)

# What takes minutes: killed and resumed runs, processes that share a network, full-size networks.
test-slow: venv
	$(PYTEST) -m slow tests

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: venv
	$(BIN)/bentoml serve

clean:
	rm -rf $(VENV) runs
