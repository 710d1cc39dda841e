"""Does numba work here? A tiny parallel kernel with a known result, run before anything is trusted to it."""

from __future__ import annotations

import logging

import numba
import numpy as np
from numba import prange

from cpu_fallback import threads
from cpu_fallback.jit import parallel_kernel
from cpu_fallback.sums import dot

LOG = logging.getLogger("wgpu_infer.kernels")
TESTED = ((0, 61), (0, 69))  # numba versions from the first to before the second


@parallel_kernel
def probe(x, out):
    """x (rows, n) -> out (rows): the sum of each row's squares."""
    for r in prange(out.size):
        out[r] = dot(x[r], x[r])
    return 0


def failure(function) -> str | None:
    """What is wrong with a compiled probe, or None."""
    x = (np.arange(8 * 50, dtype=np.float32) % 7).reshape(8, 50)  # small integers: every sum is exact
    out = np.zeros(8, np.float32)
    try:
        with threads.gate():
            function(x, out)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    wrong = np.flatnonzero(out != np.square(x).sum(axis=1))
    return f"row {wrong[0]} of a test sum is {out[wrong[0]]}" if wrong.size else None


def run() -> str | None:
    """None when kernels can be used, else why not. A failing probe is compiled once more, without its cached form."""
    threads.prefer_omp()
    version = tuple(int(part) for part in numba.__version__.split(".")[:2])
    if not TESTED[0] <= version < TESTED[1]:
        LOG.warning("numba %s was not tested with this package (0.61 to 0.68 were)", numba.__version__)
    problem = failure(probe)
    if problem is None or not hasattr(probe, "recompile"):
        return problem
    LOG.warning("compiling the self-test again: %s", problem)
    probe.recompile()
    return failure(probe)
