"""Reading the bytes of weight blocks, whose scales lie at any address."""

from __future__ import annotations

import numpy as np

from cpu_fallback.half import half_to_float
from cpu_fallback.jit import inlined
from cpu_fallback.simd import element, load_u16, load_u32


@inlined
def byte(data, i):
    """data[i] as int64."""
    return np.int64(element(data, i))


@inlined
def word(data, i):
    """The little-endian uint32 at byte i, as int64."""
    return load_u32(data, i)


@inlined
def half(data, i):
    """The float16 at byte i, as float32."""
    return half_to_float(load_u16(data, i))
