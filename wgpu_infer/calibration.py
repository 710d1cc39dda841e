"""What this machine's CPU and GPU paths cost, measured once and kept on disk per adapter and driver.

Four figures per side describe a single op call on numpy arrays: a fixed cost (call, or submit and read back), a rate at
which bytes get there and back, and rates of arithmetic and of memory. They are measured by running real ops.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wgpu_infer import kept
from wgpu_infer.backends.base import Array, Backend
from wgpu_infer.contracts.host import HostWeight
from wgpu_infer.contracts.table import OPS

VERSION = 1
FILE = "calibration.json"
REPEATS = 5
MATMUL = (
    128,
    512,
    512,
)  # tokens, rows, cols: large enough to keep either side busy, small enough for a software adapter
STREAM = 1 << 20  # elements of the memory measurement


@dataclass(frozen=True)
class Costs:
    """Of one backend: seconds for the smallest op there and back, bytes/s to and from it, FLOP/s, bytes/s inside."""

    fixed_s: float
    transfer: float
    flops: float
    memory: float

    def seconds(self, flops: float, touched: float, moved: float) -> float:
        """Predicted time of an op: its arithmetic or its memory traffic, whichever is longer, and getting there."""
        return self.fixed_s + moved / self.transfer + max(flops / self.flops, touched / self.memory)


def measure(backend: Backend) -> Costs:
    """Runs a tiny add, a large add and a matmul, each warmed up, and takes medians."""
    tiny = _median(lambda: _add(backend, 64))
    large = np.ones(STREAM, np.float32)
    handle = backend.array(large)
    there = _median(lambda: (backend.write(handle, large), backend.read(handle, (1,))))
    back = _median(lambda: backend.read(handle, (STREAM,)))
    other = backend.array(large)
    inside = _median(lambda: _run_add(backend, handle, other, STREAM)) - tiny
    tokens, rows, cols = MATMUL
    multiply = _median(_matmul(backend, tokens, rows, cols)) - tiny
    return Costs(
        fixed_s=tiny,
        transfer=8.0 * STREAM / max(there + back - 2 * tiny, 1e-6),
        flops=2.0 * tokens * rows * cols / max(multiply, 1e-6),
        memory=12.0 * STREAM / max(inside, 1e-6),
    )


def _add(backend: Backend, n: int) -> None:
    x, y = backend.array(np.ones(n, np.float32)), backend.array(np.ones(n, np.float32))
    _run_add(backend, x, y, n)


def _run_add(backend: Backend, x: Array, y: Array, n: int) -> None:
    """x += y, and waits for it."""
    backend.run(OPS["add"], x, y, n=n, period=n)
    backend.read(x, (1,))


def _matmul(backend: Backend, tokens: int, rows: int, cols: int) -> Callable[[], object]:
    values = np.full((rows, cols), 0.5, np.float32)
    w = backend.weight(HostWeight(values.view(np.uint8).reshape(-1), "F32", rows, cols))
    x, out = backend.array(np.ones((tokens, cols), np.float32)), backend.empty((tokens, rows))

    def call() -> object:
        backend.run(OPS["matmul"], x, w, out, tokens=tokens, rows=rows, cols=cols, row0=0, stride=rows)
        return backend.read(out, (1,))

    return call


def _median(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def load_or_measure(backend: Backend) -> Costs:
    """The costs kept for this device, else measured now and kept where the cache can be written."""
    known = kept.load(FILE)
    key = f"{VERSION}|{backend.describe()}"
    costs = _costs_in(known.get(key))
    if costs is None:
        costs = measure(backend)
        kept.save(FILE, known | {key: asdict(costs)})
    return costs


def _costs_in(entry: Any) -> Costs | None:
    """What the file says, if it is four positive numbers: it may be damaged or written by something else."""
    try:
        costs = Costs(**entry)
        return costs if all(math.isfinite(figure) and figure > 0 for figure in asdict(costs).values()) else None
    except TypeError:
        return None
