"""Judging what one backend wrote against what another, or the reference, wrote: per element, by the op's own bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wgpu_infer.contracts.contract import Op


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
    allowed = slack * np.broadcast_to(np.asarray(op.bound(operands, want, params), np.float64), want.shape)
    with np.errstate(invalid="ignore"):
        excess = np.abs(got.astype(np.float64) - want.astype(np.float64)) - allowed
    same = (np.isnan(got) & np.isnan(want)) | (got == want)  # whatever the bound, which an operand's NaN makes NaN
    excess = np.where(same, -np.inf, np.where(np.isnan(excess), np.inf, excess))
    if not excess.size or excess.max() <= 0:
        return None
    worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
    element = tuple(int(i) for i in worst)
    return Disagreement(op.name, operand, element, float(got[worst]), float(want[worst]), float(allowed[worst]))
