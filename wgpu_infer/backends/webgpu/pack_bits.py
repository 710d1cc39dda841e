"""Rearrangements of K-quants' bits, so that each block of 32 codes has its bits side by side.

In the file blocks share bytes: a shader that reads one block would load the bytes of two or four. Each function maps a
field's bytes, (n, bytes) uint8, to as many in a new array; `nibbles` and `pairs` are their own inverses.
"""

from __future__ import annotations

import numpy as np

LOW_NIBBLES, HIGH_NIBBLES, PAIRS = (np.uint64(int(byte * 8, 16)) for byte in ("0f", "f0", "03"))
FOUR = np.uint64(4)
SWAPS = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))  # of an 8 x 8 matrix of bits


def nibbles(field: np.ndarray) -> np.ndarray:
    """Runs of 32 bytes, of a block's 32 low nibbles and another's high ones, become 16 bytes of either block: byte i
    holds its codes i (low) and i + 16 (high), as in Q4_0."""
    columns = words(field)
    out = np.empty_like(columns)
    for i in range(2):  # whole columns: numpy's loops are slow on two numbers at a time
        first, second = columns[:, i], columns[:, 2 + i]
        out[:, i] = first & LOW_NIBBLES | (second & LOW_NIBBLES) << FOUR
        out[:, 2 + i] = (first & HIGH_NIBBLES) >> FOUR | second & HIGH_NIBBLES
    return as_bytes(out, field)


def pairs(field: np.ndarray) -> np.ndarray:
    """Runs of 32 bytes, of which bits 2g and 2g + 1 are block g's codes, become 8 bytes of each of the four blocks:
    byte i holds its codes i, i + 8, i + 16 and i + 24, lowest bits first."""
    columns = words(field)
    out = np.zeros_like(columns)
    for part in range(4):
        for block in range(4):
            out[:, block] |= (columns[:, part] >> np.uint64(2 * block) & PAIRS) << np.uint64(2 * part)
    return as_bytes(out, field)


def bits(field: np.ndarray) -> np.ndarray:
    """32 bytes, of which bit g is block g's code's, become a word of each of the eight blocks: bit i is code i's."""
    by_eight = as_bytes(transposed(words(field)), field)  # byte 8·q + g: codes 8q.. of block g
    return as_bytes(np.ascontiguousarray(by_eight.reshape(-1, 4, 8).swapaxes(1, 2)), field)


def bits_back(field: np.ndarray) -> np.ndarray:
    """The inverse of `bits`."""
    by_eight = np.ascontiguousarray(field.reshape(-1, 8, 4).swapaxes(1, 2)).reshape(field.shape)
    return as_bytes(transposed(words(by_eight)), field)


def transposed(values: np.ndarray) -> np.ndarray:
    """Each uint64 as a matrix of 8 x 8 bits, transposed (Warren, Hacker's Delight, 7-3)."""
    for shift, mask in SWAPS:
        moved = (values ^ values >> np.uint64(shift)) & np.uint64(mask)
        values = values ^ moved ^ moved << np.uint64(shift)
    return values


def words(field: np.ndarray) -> np.ndarray:
    """Runs of 32 bytes, of all blocks, as uint64: (runs, 4)."""
    return np.ascontiguousarray(field).view("<u8").reshape(-1, 4)


def as_bytes(runs: np.ndarray, like: np.ndarray) -> np.ndarray:
    return runs.view(np.uint8).reshape(like.shape)
