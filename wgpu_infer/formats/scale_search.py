"""Finds the scale (and minimum) that represent a group of weights by integer codes with the smallest squared error.

The best codes follow from the scale and the best scale from the codes (a linear least-squares fit), so each search
walks a few candidate grids, solves the fit for the codes each gives, keeps the best per group, and then repeats
rounding and fitting from there (Lloyd's algorithm). All groups are searched at once. The error is the plain sum of
squares: without activation statistics no weight matters more than another. Scales found here are real numbers;
rounding them to what a format can store is the caller's part (quantize_k.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wgpu_infer.formats.blocks import Floats

Doubles = NDArray[np.float64]

# A grid that is a little finer or coarser than the one which just spans the group often wins: it clips the extremes, or
# leaves end codes unused, and fits the rest better. In codes. Twice as many, or up to 3, gain less than 1 %.
_SHIFTS = tuple(np.linspace(-2, 2, 17))
_REFITS = 2


def nearest_codes(x: Floats, scale: Floats, base: Floats | float, low: int, high: int) -> Floats:
    """Codes in [low, high] for which scale * code + base is nearest to x; 0 where the scale is 0. Shapes broadcast."""
    codes: Floats = np.rint((x - base) / np.where(scale == 0, np.float32(np.inf), scale))
    return np.clip(codes, low, high)


def fit_affine(x: Floats, top: int) -> tuple[Floats, Floats]:
    """Fits x ≈ scale * code - minimum with codes 0..top, scale >= 0 and minimum >= 0.

    x (groups, n) -> scale (groups,), minimum (groups,).
    """
    low = np.minimum(x.min(axis=1), 0)
    above = x - low[:, None]  # keeps the sums small where all of a group lies far below zero
    best = np.full((3, len(x)), np.inf)  # rows: scale, base, squared error; x ≈ scale * code + base + low
    for scale, base in _affine_grids(above, top, best):
        codes = nearest_codes(above, scale[:, None], base[:, None], 0, top)
        fit = _solve_affine(above, codes, low)
        np.copyto(best, fit, where=fit[2] < best[2])
    return best[0].astype(np.float32), np.maximum(0, -(best[1] + low)).astype(np.float32)


def _affine_grids(above: Floats, top: int, best: Doubles) -> Iterator[tuple[Floats, Floats]]:
    """Candidate (scale, base) per group: shifted spans first, then what `best` holds by then."""
    span = above.max(axis=1)
    for shift in _SHIFTS:
        yield span / np.float32(top + shift), np.zeros_like(span)
    for _ in range(_REFITS):
        yield best[0].astype(np.float32), best[1].astype(np.float32)


def _solve_affine(above: Floats, codes: Floats, low: Floats) -> Doubles:
    """Least squares for given codes: (groups, n), (groups, n), (groups,) -> scale, base, squared error (3, groups)."""
    n = above.shape[1]
    sum_c, sum_cc = _sums(codes, None), _sums(codes, codes)
    sum_x, sum_xx, sum_cx = _sums(above, None), _sums(above, above), _sums(codes, above)
    scale = _ratio(n * sum_cx - sum_c * sum_x, n * sum_cc - sum_c**2)
    base = (sum_x - scale * sum_c) / n
    # The format cannot add: where the fit wants a positive minimum, the line goes through zero instead.
    adds = base + low > 0
    scale = np.where(adds, _ratio(sum_cx + low * sum_c, sum_cc), scale)
    base = np.where(adds, -low, base)
    error = sum_xx - 2 * (scale * sum_cx + base * sum_x) + scale**2 * sum_cc + 2 * scale * base * sum_c + n * base**2
    return np.stack([scale, base, np.where(scale < 0, np.inf, error)])


def fit_symmetric(x: Floats, low: int, high: int) -> Floats:
    """Fits x ≈ scale * code with codes low..high (low < 0 < high); the scale may be negative.

    x (groups, n) -> scale (groups,).
    """
    best = np.zeros((2, len(x)))  # rows: scale, squared error that it removes
    for scale in _symmetric_grids(x, low, high, best):
        codes = nearest_codes(x, scale[:, None], 0, low, high)
        sum_cx, sum_cc = _sums(codes, x), _sums(codes, codes)
        fitted = _ratio(sum_cx, sum_cc)
        removed = fitted * sum_cx
        np.copyto(best, np.stack([fitted, removed]), where=removed > best[1])
    return best[0].astype(np.float32)


def _symmetric_grids(x: Floats, low: int, high: int, best: Doubles) -> Iterator[Floats]:
    """Candidate scales: the value of largest magnitude near either end code, then what `best` holds by then."""
    peak = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)[:, 0]
    for end in (low, high):
        for shift in _SHIFTS:
            yield peak / np.float32(end + shift)
    for _ in range(_REFITS):
        yield best[0].astype(np.float32)


def _sums(a: Floats, b: Floats | None) -> Doubles:
    """Per group the sum of a, or of a * b: (groups, n) -> (groups,)."""
    sums = np.einsum("gi->g", a) if b is None else np.einsum("gi,gi->g", a, b)
    return sums.astype(np.float64)


def _ratio(over: Doubles, under: Doubles) -> Doubles:
    """over / under, and 0 where `under` is 0."""
    return np.divide(over, under, out=np.zeros_like(over), where=under != 0)
