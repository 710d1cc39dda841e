# Two commands are enough on a fresh machine: `make generate` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
# Files of tests side by side. `make coverage` runs the same tests under coverage.
RUN    ?= pytest -n logical --maxprocesses 4 --dist loadfile
PROMPT ?= Once upon a time
PIP    := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: generate test coverage lint ops-table bench-cpu-inference bench-cpu-memory bench-cpu-claims bench-wgpu gpu-report wheel clean

generate: $(VENV)/.core
	$(PY) -m wgpu_infer.generate "$(PROMPT)"

test: $(VENV)/.test
	$(PY) -m $(RUN)

coverage: $(VENV)/.test
	$(MAKE) test RUN="$(RUN) --cov --cov-report=term:skip-covered --cov-fail-under=90"

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

ops-table: $(VENV)/.core
	$(PY) tools/ops_table.py

# BENCH="--quick" and the like goes to the script, which explains its options with --help.
bench-cpu-inference: $(VENV)/.core
	$(PY) benches/cpu_inference.py $(BENCH)

bench-cpu-memory: $(VENV)/.core
	$(PY) benches/cpu_memory.py $(BENCH)

bench-cpu-claims: $(VENV)/.core
	$(PY) benches/cpu_claims.py $(BENCH)

bench-wgpu: $(VENV)/.core
	$(PY) benches/wgpu_inference.py $(BENCH)

# On a machine with a GPU: results, speed and distance to the roofline, in gpu_report.md and .json.
gpu-report: $(VENV)/.core
	$(PY) tools/gpu_report.py $(REPORT)

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
