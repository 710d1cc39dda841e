"""gather_rows: the rows of the tokens that the index rows name."""

from __future__ import annotations

from cpu_fallback.checks import BAD_PARAMETERS, OUTPUT, first_outside
from cpu_fallback.jit import kernel


@kernel
def gather_rows(x, index, out, tokens, rows, dim):
    """x (tokens, dim), index (tokens, 4) -> out (rows, dim): row i is token index[i, 3]."""
    if rows > tokens:
        return BAD_PARAMETERS
    bad = first_outside(index, OUTPUT, rows, 0, tokens)
    if bad:
        return bad
    for r in range(rows):
        for i in range(dim):
            out[r, i] = x[index[r, OUTPUT], i]
    return 0
