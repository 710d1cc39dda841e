"""exp, tanh and erf on SIMD values, against float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cpu_fallback.jit import kernel
from cpu_fallback.simd import load_f32, store_f32
from cpu_fallback.vector_math import erf_f32, exp_f32, tanh_f32


@kernel
def apply_exp(x, out):
    for i in range(0, x.size, 16):
        store_f32(out, i, exp_f32(load_f32(x, i)))


@kernel
def apply_tanh(x, out):
    for i in range(0, x.size, 16):
        store_f32(out, i, tanh_f32(load_f32(x, i)))


@kernel
def apply_erf(x, out):
    for i in range(0, x.size, 16):
        store_f32(out, i, erf_f32(load_f32(x, i)))


def of(apply, *values: np.ndarray | float) -> np.ndarray:
    x = np.concatenate([np.atleast_1d(np.asarray(v, np.float32)) for v in values])
    padded = np.zeros(-(-x.size // 16) * 16, np.float32)
    padded[: x.size] = x
    out = np.empty_like(padded)
    apply(padded, out)
    return out[: x.size]


def arguments(low: float, high: float) -> np.ndarray:
    """Even steps and small numbers of every size."""
    tiny = np.exp(np.linspace(-80, math.log(high), 20_001))
    return np.concatenate([np.linspace(low, high, 400_001), tiny, -tiny[tiny < -low]]).astype(np.float32)


def largest_error(got: np.ndarray, want: np.ndarray) -> float:
    """Relative to what is wanted; what is wanted to be 0 must be."""
    assert not got[want == 0].any()
    return float(np.max(np.abs(got - want)[want != 0] / np.abs(want[want != 0])))


def test_exp():
    x = arguments(-87.33, 88.72)
    want = np.exp(x.astype(np.float64))
    assert largest_error(of(apply_exp, x), want) <= 1e-7


def test_exp_at_its_ends():
    x = [0.0, -0.0, -87.34, -1e30, -np.inf, 88.7229, 1e30, np.inf, np.nan]
    np.testing.assert_array_equal(of(apply_exp, x), np.float32([1, 1, 0, 0, 0, np.inf, np.inf, np.inf, np.nan]))
    assert np.isfinite(of(apply_exp, np.float32(88.7228)))[0]


def test_tanh():
    x = arguments(-20, 20)
    want = np.tanh(x.astype(np.float64))
    assert largest_error(of(apply_tanh, x), want) <= 1.5e-7
    np.testing.assert_array_equal(of(apply_tanh, [np.inf, -np.inf, np.nan, 0, 50]), np.float32([1, -1, np.nan, 0, 1]))


def test_erf():
    x = arguments(-8, 8)
    want = np.array([math.erf(v) for v in x])
    assert largest_error(of(apply_erf, x), want) <= 2e-7
    np.testing.assert_array_equal(of(apply_erf, [np.inf, -np.inf, np.nan, 0, 9]), np.float32([1, -1, np.nan, 0, 1]))


@pytest.mark.parametrize("apply", [apply_exp, apply_tanh, apply_erf])
def test_a_lane_does_not_depend_on_its_neighbours(apply):
    x = np.linspace(-5, 5, 16, dtype=np.float32)
    alone = [of(apply, np.full(16, v))[3] for v in x]
    np.testing.assert_array_equal(of(apply, x), alone)
