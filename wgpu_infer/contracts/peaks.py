"""peaks: the largest logit of each group of a row, as keys in their order, so that few logits need a second look.

Group g holds the logits g, g + groups, g + 2·groups, …; there is at least one for each group.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wgpu_infer.contracts import bounds
from wgpu_infer.contracts.cases import activations
from wgpu_infer.contracts.contract import Case, Op, ceil_div, dense, grid, params

MOST_GROUPS = 4096  # a row; the pick looks at all of them with one workgroup


def order_keys(x: np.ndarray) -> np.ndarray:
    """u32 keys in the order of float32 values; both zeros have one key, NaN the largest."""
    bits = x.astype(np.float32).view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    keys = np.where(bits >> 31, np.uint32(0x80000000) - magnitude, np.uint32(0x80000000) + magnitude)
    return np.where(magnitude > 0x7F800000, np.uint32(0xFFFFFFFF), keys).astype(np.uint32)


def num_groups(cols: int) -> int:
    return min(cols, MOST_GROUPS)


def reference(logits: np.ndarray, *, groups: int, **_: int) -> np.ndarray:
    """logits (tokens, cols) -> u32 (tokens, groups)."""
    keys = order_keys(logits)
    return np.stack([keys[:, group::groups].max(axis=1) for group in range(groups)], axis=1)


def cases() -> Iterator[Case]:
    for tokens, cols, groups in ((1, 1, 1), (3, 512, 512), (2, 1000, 64), (2, 70_001, 4096)):
        sizes = {"tokens": tokens, "cols": cols, "groups": groups}
        yield Case(f"{tokens}x{cols}-{groups}", {"logits": activations(tokens, cols, seed=cols)}, sizes)
    odd = np.zeros((2, 200), np.float32)
    odd[0, [3, 70, 199]] = np.nan, -np.nan, np.inf
    odd[1], odd[1, 7], odd[1, 9] = -np.inf, -0.0, 1e-42
    yield Case("extremes", {"logits": odd}, {"tokens": 2, "cols": 200, "groups": 100})


OP = Op(
    name="peaks",
    operands=(dense("logits", "tokens", "cols"), dense("peaks", "tokens", "groups", access="w", dtype="u32")),
    params=params(tokens="u4", cols="u4", groups="u4"),
    reference=reference,
    bound=bounds.exact,
    groups=lambda p: grid(p["tokens"] * ceil_div(p["groups"], 64)),
    cases=cases,
    constants={"WG": 64},
)
