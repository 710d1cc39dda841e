"""add: x += y in place; y repeats, or is as long as x."""

from __future__ import annotations

from cpu_fallback.checks import BAD_PARAMETERS
from cpu_fallback.jit import kernel, span
from cpu_fallback.lanes import LANES, ZERO, load_up_to, shares, store_up_to

CHUNK = 4096  # elements that are dealt out as one, within a repetition of y
PART = 4 * CHUNK


def parts(*, n: int, period: int, **_: int) -> int:
    return shares(n // period * -(-period // CHUNK), n, PART) if period else 1


@kernel
def add(x, y, n, period, part, parts, scratch):
    """x (n), y (period), n a multiple of period."""
    if period < 1 or n % period:
        return BAD_PARAMETERS
    chunks = (period + CHUNK - 1) // CHUNK  # of one repetition
    first, last = span(n // period * chunks, part, parts)
    for chunk in range(first, last):
        start, low = chunk // chunks * period, chunk % chunks * CHUNK
        high = min(low + CHUNK, period)
        for j in range(low, high, LANES):
            i, end = start + j, start + high
            value = load_up_to(x, i, end, ZERO, scratch) + load_up_to(y, j, high, ZERO, scratch)
            store_up_to(x, i, end, value, scratch)
    return 0
