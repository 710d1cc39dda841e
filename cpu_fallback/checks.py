"""Index rows are checked before anything is gathered by them: numba does not test bounds.

The functions return 0, or the number (from 1) of the first row that points outside.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.jit import device

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


@device
def first_bad_page(index, table, pages, tokens, whole):
    """The first token whose page (with `whole`, one of the pages up to it) does not exist."""
    for t in range(tokens):
        sequence, last = np.int64(index[t, SEQUENCE]), np.int64(index[t, POSITION]) // SLOTS
        if sequence >= table.shape[0] or last >= table.shape[1]:
            return t + 1
        for p in range(0 if whole else last, last + 1):
            if table[sequence, p] >= pages:
                return t + 1
    return 0
