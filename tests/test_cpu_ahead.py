"""Kernels compiled by helper processes, each test in a child with an empty cache."""

from __future__ import annotations

import pytest
from test_cpu_backend import child

SCRIPT = """
import sys
from numba.core import types
from cpu_fallback import ahead
from cpu_fallback.add import add
from cpu_fallback.entry import ENTRIES, array_kind
from cpu_fallback.matvec_act8 import matvec_act8
import numpy as np
calls, kinds = [], tuple(array_kind(np.dtype(t), n) for t, n in (("f4", 1), ("f4", 1)))
sums = (*kinds, types.int64, types.int64)
x = tuple(array_kind(np.dtype(t), n) for t, n in (("i1", 2), ("f4", 2), ("i2", 3), ("u1", 1), ("f4", 2)))
jobs = [(add, sums), *((matvec_act8.twin(kind), (*x, *[types.int64] * 5)) for kind in (2, 3, 6, 7, 8))]
ahead.number_of_helpers = lambda jobs: 1
{change}
ahead.compile_all(jobs, lambda *call: calls.append(call))
assert all(job in ENTRIES and ENTRIES[job].address for job in jobs)
assert calls[0] == (0, 6) and calls[-1] == (6, 6) and calls == sorted(calls)
print(sum(ENTRIES[job].was_cached for job in jobs))
"""


def test_helpers_leave_kernels_in_the_cache(tmp_path):
    script = SCRIPT.format(change="")
    assert 1 <= int(child(script, NUMBA_CACHE_DIR=str(tmp_path))[0]) <= 5
    assert int(child(script, NUMBA_CACHE_DIR=str(tmp_path))[0]) == 6


@pytest.mark.parametrize(
    "change",
    (
        'sys.executable = "/nowhere/python"',
        'import shutil; sys.executable = shutil.which("false")',
        "Popen = ahead.subprocess.Popen; ahead.subprocess.Popen = lambda *a, **k: (p := Popen(*a, **k), p.kill())[0]",
    ),
    ids=("absent", "ends at once", "killed"),
)
def test_without_helpers_everything_is_compiled_here(tmp_path, change):
    assert int(child(SCRIPT.format(change=change), NUMBA_CACHE_DIR=str(tmp_path))[0]) == 0


def test_a_helper_may_take_the_last_job_under_our_hands(tmp_path):
    change = """
held, compile_all = [], ahead.compile_all
ahead.start_helpers = lambda queue: held.append(queue) or []
def with_a_fast_helper(jobs, progress):
    compile_all(jobs, lambda *call: (progress(*call), held and held[0].clear()))
ahead.compile_all = with_a_fast_helper
"""
    assert int(child(SCRIPT.format(change=change), NUMBA_CACHE_DIR=str(tmp_path))[0]) == 0


def test_an_error_leaves_no_helper_behind(tmp_path):
    out, _ = child(
        SCRIPT.format(
            change="""
helpers, start = [], ahead.start_helpers
ahead.start_helpers = lambda queue: helpers.extend(start(queue)) or helpers
def stop(done, total):
    if done > 1: raise KeyboardInterrupt
try:
    ahead.compile_all(jobs, stop)
except KeyboardInterrupt:
    print([each.process.returncode is None or each.thread.is_alive() for each in helpers])
    sys.exit()
"""
        ),
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert out.split() == ["[False]"]
