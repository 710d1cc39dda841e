"""exp, tanh and erf of f32x16, the same bits on every CPU with fused multiply-add.

exp(x) = 2^n · e^r with n = round(x · log2 e) and |r| <= ln 2 / 2, where ln 2 comes in two parts of which the first has
so few bits that n times it is exact (Cody & Waite 1980). The polynomials were fitted for the least largest error by
iteratively reweighted least squares (Lawson) on Chebyshev points, and rounded to float32. NaN stays NaN.
"""

from __future__ import annotations

from cpu_fallback.isa import fma
from cpu_fallback.jit import inlined
from cpu_fallback.simd import (
    abs_f32,
    bits_of,
    from_bits,
    max_f32,
    min_f32,
    round_f32,
    select,
    splat_f32,
    splat_i32,
    to_i32,
)

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440054690583e-4  # 9 bits, the rest
EXP_LOWEST, EXP_HIGHEST = -87.3365, 88.72283  # beyond them e^x is subnormal (here 0), or more than float32 holds
INFINITY = float("inf")
SIGN = -(1 << 31)
EXP = (0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.008368716575205326, 0.001381459878757596)
TANH = (-0.3333328366279602, 0.13331490755081177, -0.05374349653720856, 0.020650586113333702, -0.005717044696211815)
TANH_SMALL = 0.625
ERF = (
    1.1283791065216064, -0.3761262595653534, 0.11283600330352783, -0.026854444295167923, 0.005189535673707724,
    -0.0008020842215046287, 7.889122935011983e-05,
)  # fmt: skip
ERFC = (
    0.0003537187585607171, 1.1270400285720825, 0.6382256746292114, 0.10303737223148346, -0.02180531993508339,
    0.002939607948064804, -0.00018557407020125538,
)  # fmt: skip
ERF_LARGEST = 4.0  # from here on erf is 1 in float32


@inlined
def polynomial5(x, c):
    y = fma(splat_f32(c[4]), x, splat_f32(c[3]))
    y = fma(y, x, splat_f32(c[2]))
    y = fma(y, x, splat_f32(c[1]))
    return fma(y, x, splat_f32(c[0]))


@inlined
def polynomial7(x, c):
    y = fma(splat_f32(c[6]), x, splat_f32(c[5]))
    y = fma(y, x, splat_f32(c[4]))
    y = fma(y, x, splat_f32(c[3]))
    y = fma(y, x, splat_f32(c[2]))
    y = fma(y, x, splat_f32(c[1]))
    return fma(y, x, splat_f32(c[0]))


@inlined
def exp_f32(x):
    """e^x within 1e-7 of itself; 0 below -87.3, infinity above 88.72; exp(0) is 1."""
    inside = min_f32(max_f32(x, splat_f32(EXP_LOWEST)), splat_f32(EXP_HIGHEST))  # a NaN would be no integer
    n = round_f32(inside * splat_f32(LOG2_E))
    r = fma(n, splat_f32(-LN2_LOW), fma(n, splat_f32(-LN2_HIGH), inside))
    y = fma(r * r, polynomial5(r, EXP), r) + splat_f32(1.0)  # 0.7..1.42: the sum below leaves its exponent in range
    y = from_bits(bits_of(y) + (to_i32(n) << 23))
    y = select(x < splat_f32(EXP_LOWEST), splat_f32(0.0), y)
    y = select(x > splat_f32(EXP_HIGHEST), splat_f32(INFINITY), y)
    return select(x == x, y, x)


@inlined
def with_sign_of(x, magnitude):
    return from_bits(bits_of(magnitude) | (bits_of(x) & splat_i32(SIGN)))


@inlined
def tanh_f32(x):
    """tanh(x) within 1.5e-7 of itself: a polynomial of x² near 0, else 1 - 2 / (e^2|x| + 1)."""
    square, size = x * x, abs_f32(x)
    small = fma(x * square, polynomial5(square, TANH), x)
    large = splat_f32(1.0) - splat_f32(2.0) / (exp_f32(size + size) + splat_f32(1.0))
    return select(size < splat_f32(TANH_SMALL), small, with_sign_of(x, large))


@inlined
def erf_f32(x):
    """erf(x) within 2e-7 of itself: x times a polynomial of x² up to 1, else 1 - e^-p(|x|), as erfc falls."""
    square, size = x * x, abs_f32(x)
    small = x * polynomial7(square, ERF)
    bounded = min_f32(size, splat_f32(ERF_LARGEST))
    large = splat_f32(1.0) - exp_f32(-polynomial7(bounded, ERFC))
    return select(x == x, select(size < splat_f32(1.0), small, with_sign_of(x, large)), x)
