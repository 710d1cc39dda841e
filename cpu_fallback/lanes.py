"""Rows in steps of 16 lanes, whatever their length: whole vectors from memory, the rest through a padded copy.

A row's last elements go through the same vector code as the others, in lanes filled up with a given value, so that an
element's bits depend neither on its place nor on how a row is cut. `pad` is 16 float32 that nothing else uses
meanwhile, such as the beginning of a twin's scratch.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback.isa import fma
from cpu_fallback.jit import device, inlined
from cpu_fallback.simd import element, load_f32, set_element, splat_f32, store_f32, sum_f32

LANES = 16
STRIDE = 4 * LANES  # elements of a step of the loops that add up: four independent sums
ZERO = np.float32(0)


@device
def fill(pad, x, i, end, filler):
    for j in range(LANES):
        set_element(pad, j, element(x, i + j) if i + j < end else filler)


@device
def copy_to(out, i, end, pad):
    for j in range(end - i):
        set_element(out, i + j, element(pad, j))


@inlined
def load_up_to(x, i, end, filler, pad):
    """float32 array, flat positions i..i+15 -> f32x16; lanes from position `end` on are `filler`."""
    if i + LANES > end:
        fill(pad, x, i, end, filler)
        return load_f32(pad, 0)
    return load_f32(x, i)


@inlined
def store_up_to(out, i, end, value, pad):
    """The lanes of positions before `end`."""
    if i + LANES > end:
        store_f32(pad, 0, value)
        copy_to(out, i, end, pad)
    else:
        store_f32(out, i, value)


@inlined
def square_and_add(v, total):
    return fma(v, v, total)


@inlined
def sum_of_four(a, b, c, d):
    return sum_f32((a + b) + (c + d))


@inlined
def sum_of(x, start, n, pad):
    """Σ x over n elements from flat position start on, as float32: sums of every 64th element, added as a tree."""
    a, b, c, d = splat_f32(0.0), splat_f32(0.0), splat_f32(0.0), splat_f32(0.0)
    whole, end = start + n // STRIDE * STRIDE, start + n
    for i in range(start, whole, STRIDE):
        a += load_f32(x, i)
        b += load_f32(x, i + 16)
        c += load_f32(x, i + 32)
        d += load_f32(x, i + 48)
    for i in range(whole, end, LANES):
        a += load_up_to(x, i, end, ZERO, pad)
    return sum_of_four(a, b, c, d)


@inlined
def sum_of_squares(x, start, n, pad):
    """Σ x², in the same order."""
    a, b, c, d = splat_f32(0.0), splat_f32(0.0), splat_f32(0.0), splat_f32(0.0)
    whole, end = start + n // STRIDE * STRIDE, start + n
    for i in range(start, whole, STRIDE):
        a = square_and_add(load_f32(x, i), a)
        b = square_and_add(load_f32(x, i + 16), b)
        c = square_and_add(load_f32(x, i + 32), c)
        d = square_and_add(load_f32(x, i + 48), d)
    for i in range(whole, end, LANES):
        a = square_and_add(load_up_to(x, i, end, ZERO, pad), a)
    return sum_of_four(a, b, c, d)


@inlined
def dot_f32(x, i, y, j, n):
    """Σ x[i + k] · y[j + k] over n elements, as float32: sums of every 64th product, added as a tree, then the n % 16
    last products one by one."""
    a, b, c, d = splat_f32(0.0), splat_f32(0.0), splat_f32(0.0), splat_f32(0.0)
    whole, vectors = n // STRIDE * STRIDE, n // LANES * LANES
    for k in range(0, whole, STRIDE):
        a = fma(load_f32(x, i + k), load_f32(y, j + k), a)
        b = fma(load_f32(x, i + k + 16), load_f32(y, j + k + 16), b)
        c = fma(load_f32(x, i + k + 32), load_f32(y, j + k + 32), c)
        d = fma(load_f32(x, i + k + 48), load_f32(y, j + k + 48), d)
    for k in range(whole, vectors, LANES):
        a = fma(load_f32(x, i + k), load_f32(y, j + k), a)
    total = sum_of_four(a, b, c, d)
    for k in range(vectors, n):
        total += element(x, i + k) * element(y, j + k)
    return total


def shares(things: int, elements: int, at_least: int) -> int:
    """How many parts `things` that can be dealt out are worth, of `elements` in all, with `at_least` in a part."""
    return max(1, min(things, elements // at_least))
