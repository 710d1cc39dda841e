"""Whole weights from their file's blocks to float32, for export and for checks.

It is not on the way of inference: products read packed weights, and embedding takes single rows. The output goes
through memory, whose write rate is what limits it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from cpu_fallback import threads
from cpu_fallback.formats import DEQUANTIZE_ROW
from cpu_fallback.jit import parallel_kernel

KERNELS: dict[int, Any] = {}  # by ggml type, made when first asked for


def kernel_for(ggml_type: int) -> Any:
    """(raw uint8, rows, cols, out float32 (rows, cols)) -> 0. KeyError for a type that is not in DEQUANTIZE_ROW."""
    if ggml_type not in KERNELS:
        dequantize_row = DEQUANTIZE_ROW[ggml_type]

        def dequantize_rows(raw, rows, cols, out):
            row_bytes = raw.size // rows
            for r in prange(rows):
                dequantize_row(raw, r * row_bytes, cols, out[r])
            return 0

        KERNELS[ggml_type] = parallel_kernel(dequantize_rows, f"{__name__}.dequantize_rows.{ggml_type}")
    return KERNELS[ggml_type]


def dequantize(raw: np.ndarray, ggml_type: int, rows: int, cols: int, count: int | None = None) -> np.ndarray:
    """float32 (rows, cols) of a weight's blocks.

    raw: uint8 (bytes,), as many as the format takes for rows · cols values, cols a multiple of its block size.
    count: threads; None takes one per physical core. Values are the same for any number.
    """
    out = np.empty((rows, cols), np.float32)
    if out.size:
        threads.prefer_omp()
        function = kernel_for(ggml_type)
        with threads.gate():
            threads.use(count or threads.physical_cores())
            function(raw, rows, cols, out)
    return out
