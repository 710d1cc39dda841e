"""The weight formats that kernels read, by ggml type id, and kernels that are compiled once per format.

A kernel over weights is written as a function of `dequantize_row`: (data uint8, byte offset of a row, n values, out
float32 (n)). It is compiled for a format when a weight of that format first comes, so that a model pays for its own
formats only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cpu_fallback.formats_32 import (
    dequantize_iq4_nl,
    dequantize_mxfp4,
    dequantize_q4_0,
    dequantize_q4_1,
    dequantize_q5_0,
    dequantize_q5_1,
    dequantize_q8_0,
)
from cpu_fallback.formats_k import (
    dequantize_iq4_xs,
    dequantize_q2_k,
    dequantize_q3_k,
    dequantize_q4_k,
    dequantize_q5_k,
    dequantize_q6_k,
)
from cpu_fallback.formats_plain import dequantize_bf16, dequantize_f16, dequantize_f32

DEQUANTIZE_ROW = {
    0: dequantize_f32,
    1: dequantize_f16,
    2: dequantize_q4_0,
    3: dequantize_q4_1,
    6: dequantize_q5_0,
    7: dequantize_q5_1,
    8: dequantize_q8_0,
    10: dequantize_q2_k,
    11: dequantize_q3_k,
    12: dequantize_q4_k,
    13: dequantize_q5_k,
    14: dequantize_q6_k,
    20: dequantize_iq4_nl,
    23: dequantize_iq4_xs,
    30: dequantize_bf16,
    39: dequantize_mxfp4,
}


class PerFormat:
    """A twin that picks the kernel for the format it is called with; `make` maps a dequantize_row to a kernel."""

    def __init__(self, make: Callable[[Callable], Any]):
        self._make = make
        self._kernels: dict[int, Any] = {}
        kernel = make(DEQUANTIZE_ROW[0])
        self.py_func: Callable = getattr(kernel, "py_func", kernel)
        self._position = list(inspect.signature(self.py_func).parameters).index("w_format")

    def kernel(self, kind: int) -> Any:
        """The kernel for ggml type `kind`; KeyError for one that is not in DEQUANTIZE_ROW."""
        found = self._kernels.get(kind)
        if found is None:
            found = self._kernels.setdefault(kind, self._make(DEQUANTIZE_ROW[kind]))
        return found

    def __call__(self, *arguments: Any) -> int:
        return self.kernel(arguments[self._position])(*arguments)


per_format = PerFormat
