# Every target sets itself up, in .venv. A fresh machine needs git, make and Python 3.11 or later.
#
#   make demo       train a small network on real digits through the tutorial's graph
#   make test       the tests that take seconds, and every example in a docstring, in two processes
#   make test-all   all tests
#   make lint       style, types, and whether generated code is fresh
#   make bench      the numbers that we quote (peers go into .venv-bench*)
#   make docs       the documentation, into site/
#   make fluent     regenerate the functional API after a pipe was added or changed
#   make clean      remove everything that these targets made
#
# Another Python:  make PYTHON=python3.12 test

PYTHON ?= python3
export PYTHON
# The tests start thousands of interpreters: without compiled modules each would compile all of penstock, in half a second.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin

.PHONY: demo test test-all lint bench docs fluent clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

demo: .venv/.stamp-demo
	$(BIN)/python examples/demo.py

test: .venv/.stamp-test
	$(BIN)/python -m pytest -m "not slow" -n 2

test-all: .venv/.stamp-test
	$(BIN)/python -m pytest

lint: .venv/.stamp-lint
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/python -m tools.gen_fluent --check

bench: .venv/.stamp-test
	benchmarks/setup.sh
	$(BIN)/python -m benchmarks

docs: .venv/.stamp-docs
	$(BIN)/python -m mkdocs build --strict

fluent: .venv/.stamp-lint
	$(BIN)/python -m tools.gen_fluent

clean:
	rm -rf .venv .venv-bench .venv-bench-squirrel build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	rm -rf examples/data benchmarks/data benchmarks/results.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment; a stamp for each extra that is in it. What is imported is compiled then: to compile all of it takes a
# third of the time of installing, and most is never imported.
.venv/.stamp-%: pyproject.toml setup.cfg constraints.txt | .venv/.stamp-python
	@echo "installing penstock[$*] into .venv (torch is large: the first time takes a while)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt -e '.[$*]'
	@touch $@

.venv/.stamp-python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found; set it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "penstock needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) -V 2>&1); set another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@
