"""Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a counter-based generator.

A draw depends on (seed, position, draw number) alone, so a sequence gets the same numbers alone or in any batch, on any
backend. key = seed (low word, high word), counter = (position, draw, 0, 0), u = (first word >> 8) · 2⁻²⁴.
"""

from __future__ import annotations

_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # multipliers
_W0, _W1 = 0x9E3779B9, 0xBB67AE85  # key schedule
_MASK = 0xFFFFFFFF


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Ten rounds over four u32 words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def uniform(seed: int, position: int, draw: int = 0) -> float:
    """A number in [0, 1) with 24 bits."""
    word = philox4x32((position & _MASK, draw & _MASK, 0, 0), (seed & _MASK, seed >> 32))[0]
    return (word >> 8) * 2.0**-24
