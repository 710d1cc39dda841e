"""Cosines and sines of every position, in float64 on the host, so that no backend computes an angle of its own.

Scaling: linear (Chen et al. 2023, arXiv:2306.15595) divides positions; NTK-aware raises the base to
base·factor^(d/(d-2)); YaRN (Peng et al. 2023, arXiv:2309.00071) divides low frequencies, keeps high ones, ramps between
and raises the magnitude to 1 + 0.1·ln(factor). Frequency factors divide each frequency (Llama 3.1 and later).
"""

from __future__ import annotations

import math

import numpy as np

from wgpu_infer.models.config import RopeScaling


def rope_table(
    positions: int, rot: int, base: float, scaling: RopeScaling, factors: np.ndarray | None = None, start: int = 0
) -> np.ndarray:
    """float32 (positions, rot/2, 2): cos and sin of position · frequency, times YaRN's magnitude, from `start` on."""
    frequency, magnitude = frequencies(rot, base, scaling, factors)
    angle = np.arange(start, start + positions, dtype=np.float64)[:, None] * frequency
    return (np.stack([np.cos(angle), np.sin(angle)], axis=-1) * magnitude).astype(np.float32)


def frequencies(
    rot: int, base: float, scaling: RopeScaling, factors: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """float64 (rot/2) radians per position, and the magnitude of the rotation."""
    if scaling.kind == "ntk" and rot > 2:
        base = base * scaling.factor ** (rot / (rot - 2))
    frequency = base ** (-np.arange(0, rot, 2, dtype=np.float64) / rot)
    if factors is not None:
        frequency = frequency / factors
    if scaling.kind == "linear":
        return frequency / scaling.factor, 1.0
    if scaling.kind == "yarn":
        keep = _yarn_ramp(rot, base, scaling) * scaling.extrapolation
        magnitude = scaling.attention * (1.0 + 0.1 * math.log(scaling.factor))
        return frequency / scaling.factor * (1 - keep) + frequency * keep, magnitude
    return frequency, 1.0


def _yarn_ramp(rot: int, base: float, scaling: RopeScaling) -> np.ndarray:
    """(rot/2): 1 where a frequency turns often enough in the trained context to be kept, 0 where it is divided."""

    def dimension(turns: float) -> float:
        return rot * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(0, math.floor(dimension(scaling.beta_fast)))
    high = min(rot - 1, math.ceil(dimension(scaling.beta_slow)))
    return 1 - np.clip((np.arange(rot // 2) - low) / max(0.001, high - low), 0, 1)
