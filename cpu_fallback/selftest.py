"""Does numba work here? A tiny program with a known result, run before anything is trusted to it.

It covers what this package takes from numba's private side: SIMD values, kernels called by address, kernels from the
cache, threads that meet in a program.
"""

from __future__ import annotations

import logging
from typing import Any

import numba
import numpy as np

from cpu_fallback import entry, program, threads
from cpu_fallback.byte_dots import dot
from cpu_fallback.isa import fma, load_f16
from cpu_fallback.jit import SCRATCH, kernel, span
from cpu_fallback.simd import load_u8, load_word, splat_f32, splat_i32, store_f32, to_f32

config: Any = numba.config  # its attributes come from the environment
LOG = logging.getLogger("wgpu_infer.kernels")
TESTED = ((0, 68), (0, 69))  # numba versions from the first to before the second
ROWS = 8


@kernel
def products(codes, halves, x, out, part, parts, scratch):
    """codes uint8 (rows, 64), halves float16 bits (16), x int8 (4) -> out (rows, 16): Σ of 4 products · half + 1."""
    first, last = span(out.shape[0], part, parts)
    for r in range(first, last):
        sums = dot(splat_i32(0), load_u8(codes, 64 * r), load_word(x, 0))
        store_f32(out, 16 * r, fma(to_f32(sums), load_f16(halves, 0), splat_f32(1.0)))
    return 0


@kernel
def total(values, out, part, parts, scratch):
    """values (rows, 16) -> out (1): their sum."""
    out[0] = values.sum()
    return 0


def failure(run=None) -> str | None:
    """What is wrong with the program, or None. run: does its work, given its arrays; for tests."""
    codes = (np.arange(ROWS * 64) % 100).astype(np.uint8).reshape(ROWS, 64)
    halves, x = (np.arange(16) / 4).astype(np.float16).view(np.uint16), np.array([3, -2, 127, -128], np.int8)
    out, summed = np.zeros((ROWS, 16), np.float32), np.zeros(1, np.float32)
    try:
        with threads.gate():
            threads.use(min(2, threads.most()))
            (run or run_program)(codes, halves, x, out, summed)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    exact = codes.reshape(ROWS, 16, 4).astype(np.int64) @ x.astype(np.int64)  # small numbers: float32 is exact
    want = exact * halves.view(np.float16).astype(np.float32) + 1
    wrong = np.argwhere(out != want)
    if wrong.size:
        return f"element {tuple(map(int, wrong[0]))} of a test product is {out[tuple(wrong[0])]}"
    return None if summed[0] == want.sum() else f"the sum of a test product is {summed[0]}"


def run_program(*arrays: np.ndarray) -> None:
    codes, halves, x, out, summed = arrays
    steps = [
        step(products, [codes, halves, x, out], ROWS, set(), {id(out)}),
        step(total, [out, summed], 1, {id(out)}, {id(summed)}),
    ]
    workers = min(2, threads.most())
    failed = program.Program(steps, workers).run(np.zeros((workers, SCRATCH), np.float32))
    if failed is not None:
        raise RuntimeError(f"step {failed} of a test program failed")


def step(twin, arguments: list[np.ndarray], parts: int, reads: set[int], writes: set[int]) -> program.Step:
    kinds = tuple(entry.kind_of(value) for value in arguments)
    return program.Step(twin, kinds, entry.record(arguments), parts, frozenset(reads), frozenset(writes), 0, arguments)


def run() -> str | None:
    """None when kernels can be used, else why not. A failing program is compiled once more, without the cache."""
    if config.DISABLE_JIT:
        return "NUMBA_DISABLE_JIT is set, and SIMD kernels exist as machine code only"
    threads.prefer_omp()
    version = tuple(int(part) for part in numba.__version__.split(".")[:2])
    if not TESTED[0] <= version < TESTED[1]:
        LOG.warning("numba %s was not tested with this package (0.68 was)", numba.__version__)
    problem = failure()
    if problem is None:
        return None
    LOG.warning("compiling the self-test again: %s", problem)
    entry.ENTRIES.clear()
    with entry.without_cache():
        return failure()
