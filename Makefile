# make demo and make test need nothing but Python 3.11 and make: the virtual environment is made on the way.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python)
PYTEST_ARGS ?= -n auto --dist loadfile
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The tests' matrices are small: one thread a process and a process a core is faster than threads that compete.
THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test coverage lint format types notebooks docs wheel clean

help:
	@echo "make demo       train a robust network on the Wisconsin breast cancer data; results in demo/"
	@echo "make test       run the tests            (PYTEST_ARGS='...' replaces '$(PYTEST_ARGS)')"
	@echo "make coverage   run the tests and measure the branches that they take; fewer than 90 % is an error"
	@echo "make lint       check style and format   make format   mend both"
	@echo "make types      check types              make notebooks   run every notebook"
	@echo "make docs       build the reference into build/docs; a parameter without an explanation is an error"
	@echo "make wheel      build wheel and sdist, install the wheel into an empty environment and try it there"
	@echo "make clean      remove what these commands made, the virtual environment too"

$(READY): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $@

demo: $(READY)
	$(THREADS) $(BIN)/convexadv demo --out demo

test: $(READY)
	$(THREADS) $(BIN)/python -m pytest $(PYTEST_ARGS)

coverage: $(READY)
	$(THREADS) $(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=term

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/mypy

# Each notebook runs from top to bottom in its own folder, two at a time; the files are left as they are.
notebooks: $(READY)
	printf '%s\n' $(sort $(wildcard notebooks/*.ipynb)) | $(THREADS) xargs -P 2 -n 1 $(BIN)/jupyter-execute

docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs

# Some minutes without pip's cache: torch is downloaded again. The environment lies outside of the repository and is removed.
wheel: $(READY)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	set -e; there=$$(mktemp -d); trap 'rm -rf "$$there"' EXIT; \
	$(PYTHON) -m venv "$$there/venv"; \
	"$$there/venv/bin/python" -m pip install --disable-pip-version-check -q dist/*.whl -c constraints.txt; \
	cp tools/smoke.py "$$there"; cd "$$there"; \
	env -u PYTHONPATH PATH="$$there/venv/bin:$$PATH" $(THREADS) venv/bin/python smoke.py

clean:
	rm -rf $(VENV) build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
