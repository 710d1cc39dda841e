"""Judging what one backend wrote against what another, or the reference, wrote: per element, by the op's own bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wgpu_infer.contracts.bounds import exact
from wgpu_infer.contracts.contract import Op
from wgpu_infer.contracts.host import HostAct8

KEYS, VALUES = "kv.k", "kv.v"  # what pages are called as operands


@dataclass(frozen=True)
class Disagreement:
    """The worst element of a written operand that is further off than the op allows."""

    op: str
    operand: str
    element: tuple[int, ...]
    got: float
    want: float
    allowed: float

    def __str__(self) -> str:
        at = ", ".join(map(str, self.element))
        return f"{self.op}: {self.operand}[{at}] is {self.got!r}, expected {self.want!r} within {self.allowed:.3g}"


def compare(
    op: Op,
    operand: str,
    operands: Mapping[str, Any],
    got: np.ndarray,
    want: np.ndarray,
    params: Mapping[str, Any],
    slack: float = 1.0,
) -> Disagreement | None:
    """None where every element agrees. NaN must meet NaN, and infinities equal ones; `operands` feed the op's bound.

    slack: multiplies the bound; 2 where both sides are rounded, since the bound is one side's distance from exact.
    """
    bound = {KEYS: op.key_bound or exact, VALUES: exact}.get(operand, op.bound)
    allowed = slack * np.broadcast_to(np.asarray(bound(operands, want, params), np.float64), want.shape)
    with np.errstate(invalid="ignore"):
        excess = np.abs(got.astype(np.float64) - want.astype(np.float64)) - allowed
    same = (np.isnan(got) & np.isnan(want)) | (got == want)  # whatever the bound, which an operand's NaN makes NaN
    excess = np.where(same, -np.inf, np.where(np.isnan(excess), np.inf, excess))
    if not excess.size or excess.max() <= 0:
        return None
    worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
    element = tuple(int(i) for i in worst)
    return Disagreement(op.name, operand, element, float(got[worst]), float(want[worst]), float(allowed[worst]))


ODD_CODES = 1e-3  # the share of int8 codes that may be 1 off: values that lie between two codes
SCALE_ERROR = 1e-4  # relative, of scales: they come from values that are rounded differently


def compare_act8(op: Op, operand: str, got: HostAct8, want: HostAct8) -> Disagreement | None:
    """None where scales agree and codes differ by at most 1, in at most 0.1 % of them (one, where there are fewer)."""
    with np.errstate(invalid="ignore"):
        off = np.abs(got.scales - want.scales) > SCALE_ERROR * np.abs(want.scales) + 1e-43
    off &= ~(np.isnan(got.scales) & np.isnan(want.scales))
    if off.any():
        at = np.unravel_index(int(np.argmax(off)), off.shape)
        return found(op, f"{operand}.scales", at, got.scales, want.scales, SCALE_ERROR * abs(float(want.scales[at])))
    steps = np.abs(got.codes.astype(int) - want.codes)
    steps[np.repeat(~np.isfinite(want.scales), 32, axis=1)] = 0
    at = np.unravel_index(int(np.argmax(steps)), steps.shape) if steps.size else ()
    if not steps.size or (steps[at] <= 1 and np.count_nonzero(steps) <= max(1, ODD_CODES * steps.size)):
        return None
    return found(op, f"{operand}.codes", at, got.codes, want.codes, 1.0 if steps[at] > 1 else 0.0)


def found(op: Op, operand: str, at: tuple, got: np.ndarray, want: np.ndarray, allowed: float) -> Disagreement:
    return Disagreement(op.name, operand, tuple(int(i) for i in at), float(got[at]), float(want[at]), allowed)
