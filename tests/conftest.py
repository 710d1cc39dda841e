"""Fixtures shared by all tests: where the reference files are, and whether a skip is allowed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from tracing import paused

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

os.environ.setdefault("WGPU_INFER_CHECKED", "1")  # our shaders with wgpu's run-time checks; set 0 to test as users run
LOOP, LOOP_S = 4_000_000, 0.03  # what `slowness` counts, and the seconds that takes on a fast machine
report_lines: list[str] = []  # printed at the end of the run
pytest.importorskip = paused(pytest.importorskip)  # torch and transformers take 10 seconds to import when traced


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session):
    if counts_kernels() and not session.config.pluginmanager.hasplugin("dsession"):  # not where others run the tests
        from kernel_coverage import count_kernels

        count_kernels()


@pytest.fixture(scope="session", autouse=True)
def kernels_of_the_run(tmp_path_factory):
    """Under coverage each kernel is compiled afresh, but by one of a run's processes only."""
    if counts_kernels():
        from kernel_coverage import hand_on_kernels

        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "counted_kernels"
        folder.mkdir(exist_ok=True)
        hand_on_kernels(folder)


def counts_kernels() -> bool:
    """Whether this process runs tests under coverage, with kernels counted."""
    coverage = sys.modules.get("coverage")
    is_running = coverage is not None and coverage.Coverage.current() is not None
    return is_running and os.environ.get("NUMBA_JIT_COVERAGE") == "1"


def child_environ(**changes: str) -> dict[str, str]:
    """The environment for a child process: it keeps its compiled kernels, which it would not under coverage."""
    return {name: value for name, value in os.environ.items() if name != "NUMBA_JIT_COVERAGE"} | changes


def patience() -> float:
    """What a time limit is multiplied by: at least 1, more on a slow or busy machine, and 5 times that where coverage
    traces every line."""
    return slowness() * (1.0 if sys.gettrace() is None else 5.0)


def slowness() -> float:
    """How many times longer than on a usual machine Python takes to count, now; at least 1."""
    started = time.perf_counter()
    sum(range(LOOP))
    return max(1.0, (time.perf_counter() - started) / LOOP_S)


def need_shared(*names: str) -> Path:
    """Path of a reference file; skips (or fails, with EXPECT_SHARED=1) where it is absent."""
    path = SHARED.joinpath(*names)
    if not path.exists():
        message = f"reference file {'/'.join(names)} is not on this machine"
        if os.environ.get("EXPECT_SHARED") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def shared():
    return need_shared


@pytest.fixture(scope="session")
def open_once():
    """open_once(name): the backend of that name, opened once a session; webgpu skips where there is no adapter."""
    from wgpu_infer.backends.registry import open_backend
    from wgpu_infer.errors import DeviceError

    opened = {}

    def get(name: str):
        if name not in opened:
            try:
                opened[name] = open_backend(name)
                if name == "webgpu":
                    report_lines.append(canary_report(opened[name]))
            except DeviceError as error:
                opened[name] = error
        if isinstance(opened[name], DeviceError):
            if os.environ.get("EXPECT_WEBGPU") == "1":
                pytest.fail(str(opened[name]))
            pytest.skip(str(opened[name]))
        return opened[name]

    yield get
    for backend in opened.values():
        if not isinstance(backend, DeviceError):
            backend.close()


@pytest.fixture
def webgpu(open_once):
    return open_once("webgpu")


def canary_report(backend) -> str:
    from loop_canary import TRIPS, trips_done

    done = trips_done(backend)
    fate = "runs to its end" if done == TRIPS else f"is silently ended after {done}: longer loops are unprovable here"
    return f"{backend.describe()}; a loop of {TRIPS} trips {fate}"


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # one of several processes: its lines go to the one that prints
        session.config.workeroutput["report"] = report_lines


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    report_lines.extend(getattr(node, "workeroutput", {}).get("report", []))


def pytest_terminal_summary(terminalreporter):
    for line in sorted(set(report_lines)):
        terminalreporter.write_line(line)
