"""gather_rows: the rows of the tokens that the index rows name."""

from __future__ import annotations

import numpy as np

from cpu_fallback.checks import BAD_PARAMETERS, OUTPUT, first_outside
from cpu_fallback.jit import kernel, span
from cpu_fallback.lanes import LANES, ZERO, load_up_to, shares, store_up_to

PART = 16384  # elements


def parts(*, rows: int, dim: int, **_: int) -> int:
    return shares(rows, rows * dim, PART)


@kernel
def gather_rows(x, index, out, tokens, rows, dim, part, parts, scratch):
    """x (tokens, dim), index (tokens, 4) -> out (rows, dim): row i is token index[i, 3]."""
    if rows > tokens:
        return BAD_PARAMETERS
    first, last = span(rows, part, parts)
    bad = first_outside(index, OUTPUT, last, 0, tokens, first)
    if bad:
        return bad
    for r in range(first, last):
        source, target = np.int64(index[r, OUTPUT]) * dim, r * dim
        for i in range(0, dim, LANES):
            value = load_up_to(x, source + i, source + dim, ZERO, scratch)
            store_up_to(out, target + i, target + dim, value, scratch)
    return 0
