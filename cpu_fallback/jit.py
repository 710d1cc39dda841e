"""How the kernels are compiled: three decorators over numba.njit.

`device` is for functions that kernels call, `sums` for those of them that add up many products, `kernel` and
`parallel_kernel` for the twins themselves, which are compiled at their first call and kept in the kernel cache.
Nothing is compiled with full fast-math: NaN and infinities go through every op as in its reference. `sums` lets LLVM
choose an order of additions that fits vectors, once, when it compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from cpu_fallback.kernel_cache import attach

config: Any = numba.config
PARALLEL = not config.BOUNDSCHECK  # an IndexError does not come out of a parallel region in one piece

device = numba.njit(nogil=True, error_model="numpy")
sums = numba.njit(nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})


def kernel(function: Callable) -> Callable:
    return attach(numba.njit(nogil=True, error_model="numpy")(function))


def parallel_kernel(function: Callable) -> Callable:
    """With numba.prange; its functions may run on several threads at once and never share what they write."""
    return attach(numba.njit(nogil=True, error_model="numpy", parallel=PARALLEL)(function))
