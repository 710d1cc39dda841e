"""Reading the bytes of weight blocks.

Two habits of every block loop in formats_*.py have their reason here. An index goes through uint64, because numba
tests a signed one for being negative, which keeps LLVM from using vectors. And a loop over the codes of a block takes
its length as `steps(16, n)`, a value that LLVM cannot know: a loop of 16 known steps is unrolled before it could
become vector code, and that is four times slower.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.half import half_to_float
from cpu_fallback.jit import device


@device
def steps(count, n):
    """`count`, for rows of n >= count values."""
    return min(count, n)


@device
def byte(data, i):
    """data[i] as int64."""
    return np.int64(data[np.uint64(i)])


@device
def word(data, i):
    """The little-endian uint32 at byte i, as int64."""
    return byte(data, i) | byte(data, i + 1) << 8 | byte(data, i + 2) << 16 | byte(data, i + 3) << 24


@device
def half(data, i):
    """The float16 at byte i, as float32."""
    return half_to_float(byte(data, i) | byte(data, i + 1) << 8)
