"""How the kernels are compiled: decorators over numba.njit.

`device` is for functions that kernels call, `inlined` for small ones on SIMD values, `internal` for larger ones that
Python cannot call, which makes them quicker to compile, `kernel` for the twins themselves, `cached` and
`parallel_kernel` for what Python calls: compiled at the first call and kept in the kernel cache. Nothing is compiled
with fast-math: NaN and infinities go through every op as in its reference. `inlined`, `internal` and `kernel` count no
references to arrays (`_nrt`), so they cannot allocate any: where a loop branches, numba would not see that the counting
cancels out, and 20 ns of atomic operations would go into every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from cpu_fallback.kernel_cache import attach

config: Any = numba.config
njit: Any = numba.njit  # also with options that its type does not list
PARALLEL = not config.BOUNDSCHECK  # an IndexError does not come out of a parallel region in one piece
SCRATCH = 1 << 17  # float32 elements of working memory that a twin is given

device = njit(nogil=True, error_model="numpy")
inlined = njit(_nrt=False, nogil=True, error_model="numpy", forceinline=True)
internal = njit(_nrt=False, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def kernel(function: Callable) -> Any:
    """A twin. It is compiled into its entry (entry.py), which is what the cache keeps."""
    return njit(_nrt=False, nogil=True, error_model="numpy")(function)


def cached(function: Callable, name: str | None = None) -> Any:
    """A function kept in the kernel cache; one with a closure needs a name that says what is in it."""
    return attach(njit(nogil=True, error_model="numpy")(function), name)


def parallel_kernel(function: Callable, name: str | None = None) -> Any:
    """A cached function with numba.prange; what it calls may run on several threads at once."""
    return attach(njit(nogil=True, error_model="numpy", parallel=PARALLEL)(function), name)


@inlined
def span(n, part, parts):
    """The share of n things that part `part` of `parts` does: first, behind the last."""
    return n * part // parts, n * (part + 1) // parts
