"""Index rows are checked before anything is gathered by them: numba does not test bounds.

Twins return the number (from 1) of a row that points outside, else 0.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.jit import device, inlined

BAD_PARAMETERS = -1  # a kernel's result when its parameters contradict each other or its operands
ID, SEQUENCE, POSITION, OUTPUT = 0, 1, 2, 3  # columns of an index row
SLOTS = 64  # tokens of a KV page


@device
def first_outside(index, column, rows, low, high, first=0):
    """The first of the index rows first..rows-1 whose value in `column` is not in low..high-1."""
    for i in range(first, rows):
        value = np.int64(index[i, column])
        if value < low or value >= high:
            return i + 1
    return 0


@inlined
def is_beyond(index, t, table):
    """Whether token t's sequence or position has no place in the block table (sequences, pages)."""
    return np.int64(index[t, SEQUENCE]) >= table.shape[0] or np.int64(index[t, POSITION]) // SLOTS >= table.shape[1]
