"""argmax: the position of each row's largest value, the first of several equal ones; a NaN counts as the largest."""

from __future__ import annotations

import numpy as np

from cpu_fallback.jit import inlined, kernel, span
from cpu_fallback.lanes import LANES, load_up_to, shares
from cpu_fallback.simd import all_lanes, element, highest, max_f32, splat_f32

GROUP = 512  # elements whose largest is compared with the largest so far
PART = 32768  # elements
LOWEST = np.float32(-np.inf)


def parts(*, rows: int, cols: int, **_: int) -> int:
    return shares(rows, rows * cols, PART)


@inlined
def largest_of(x, start, end, pad):
    """(the largest of positions start..end-1, whether none is NaN)."""
    top, is_number = splat_f32(LOWEST), splat_f32(0.0) == splat_f32(0.0)
    for i in range(start, end, LANES):
        value = load_up_to(x, i, end, LOWEST, pad)
        top, is_number = max_f32(value, top), is_number & (value == value)
    return highest(top), all_lanes(is_number)


@inlined
def first_of(x, value, start, end):
    """The first position of start..end-1 that holds value, or NaN; end where there is none."""
    for i in range(start, end):
        if element(x, i) == value or element(x, i) != element(x, i):
            return i
    return end


@inlined
def argmax_row(x, start, end, pad):
    """The row lies from flat position start to end - 1."""
    best, group = LOWEST, start
    for i in range(start, end, GROUP):
        top, are_numbers = largest_of(x, i, min(i + GROUP, end), pad)
        if not are_numbers:
            best, group = np.float32(np.nan), i
            break
        if top > best:
            best, group = top, i
    return first_of(x, best, group, end) - start


@kernel
def argmax(x, out, rows, cols, part, parts, scratch):
    """x (rows, cols) -> out uint32 (rows)."""
    first, last = span(rows, part, parts)
    for r in range(first, last):
        out[r] = argmax_row(x, r * cols, (r + 1) * cols, scratch)
    return 0
