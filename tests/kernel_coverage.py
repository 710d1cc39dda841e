"""Coverage of numba kernels (NUMBA_JIT_COVERAGE=1): the lines that numba counts, for less of its time.

- numba tells coverage each line that it compiles, and has it write to its database every time. Here a set is filled.
- While numba compiles, a tracer follows thousands of numba's own lines for each of ours, only to ignore them. Here
  tracing pauses in the compiler and goes on in what cpu_fallback has it call: intrinsics, overloads, operators.
- A line counts when its kernel is compiled, so none may come from the kernel cache. But the processes of one run hand
  on to each other what one of them has compiled and counted.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coverage
import numba.extending
from numba.core import dispatcher, extending, imputils
from numba.misc import coverage_support
from tracing import paused, traced


class LineCounter(coverage_support.NotifyLocBase):
    """Told of each line that is compiled."""

    def __init__(self, collector: Any):
        self.collector = collector

    def notify(self, loc: Any) -> None:
        if name := self.source(loc.filename):
            self.collector.data.setdefault(name, set()).add(loc.line)

    def close(self) -> None:
        pass

    @functools.cache  # noqa: B019 (one for the whole run)
    def source(self, name: str) -> str | None:
        """The name that coverage knows a file by, None where it does not ask for it."""
        found = self.collector.should_trace(name, None)
        return found.source_filename if found.trace else None


def traced_intrinsic(define: Callable) -> Callable:
    """The definition of an intrinsic, traced, and so is the code that it returns."""

    @functools.wraps(define)
    def call(*args: Any) -> Any:
        found = traced(define)(*args)
        return found and (found[0], traced(found[1]))

    return call


def wrap_first(decorate: Callable, wrap: Callable) -> Callable:
    """A decorator of numba's that is given functions of cpu_fallback wrapped."""

    def use(function: Callable) -> Any:
        return decorate(wrap(function) if function.__module__.startswith("cpu_fallback.") else function)

    return use


def count_kernels() -> None:
    """Counts what numba compiles from here on, in this process. To be called before cpu_fallback is imported."""
    assert "cpu_fallback.jit" not in sys.modules
    running = coverage.Coverage.current()
    assert running is not None and running._collector is not None
    counter = LineCounter(running._collector)
    coverage_support._the_registry[:] = [lambda: counter]
    compiler: Any = dispatcher._FunctionCompiler
    compiler.compile = paused(compiler.compile)
    intrinsic, overload, lower = extending.intrinsic, extending.overload, imputils.lower_builtin
    public: Any = numba.extending
    public.intrinsic = wrap_first(intrinsic, traced_intrinsic)
    public.overload = lambda *args, **options: wrap_first(overload(*args, **options), traced)
    imputils.lower_builtin = lambda *args: wrap_first(lower(*args), traced)


def hand_on_kernels(folder: Path) -> None:
    """Kernels that this process compiles are kept in the folder, and those that another one left there are taken."""
    from cpu_fallback import simd, tile
    from cpu_fallback.kernel_cache import KernelCache

    for owner, method in ((simd.Shift, "generic"), (simd.VectorModel, "__init__"), (tile.TileModel, "__init__")):
        setattr(owner, method, traced(getattr(owner, method)))
    find = KernelCache._path

    def path(cache: KernelCache, key: bytes) -> Path | None:
        return find(cache, key) or (cache._enabled and folder / f"{hashlib.sha256(key).hexdigest()}.kernel") or None

    KernelCache._path = path
