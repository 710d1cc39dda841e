# Two commands are enough on a fresh machine: `make generate` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
RUN    ?= pytest            # `make coverage` runs the same tests under coverage
PROMPT ?= Once upon a time
PIP    := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: generate test coverage lint ops-table wheel clean

generate: $(VENV)/.core
	$(PY) -m wgpu_infer.generate "$(PROMPT)"

test: $(VENV)/.test
	$(PY) -m $(RUN)

coverage: $(VENV)/.test
	$(MAKE) test RUN="coverage run -m pytest"
	$(PY) -m coverage report --fail-under=90

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

ops-table: $(VENV)/.core
	$(PY) tools/ops_table.py

wheel: $(VENV)/.dev
	$(PY) -m build --wheel

clean:
	rm -rf $(VENV) dist build .coverage .pytest_cache .mypy_cache .ruff_cache

# One stamp per extra: reinstalled when pyproject.toml changes.
$(VENV)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(PIP) --editable ".[test]"
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --editable ".[dev]"
	@touch $@
