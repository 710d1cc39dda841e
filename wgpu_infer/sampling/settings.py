"""SamplingParams as the row of settings and biases that the ops on the device read."""

from __future__ import annotations

import math

import numpy as np

from wgpu_infer.contracts.picks import (
    COLDEST,
    KEEPS_ALL,
    MOST_BIASES,
    settings_row,
)
from wgpu_infer.sampling.params import SamplingParams


def can_pick(params: SamplingParams) -> bool:
    """Whether the device can pick by these: biases must be few."""
    return len(params.logit_bias) <= MOST_BIASES


def as_settings(params: SamplingParams, seed: int, limit: int) -> np.ndarray:
    """u32 (SETTINGS_WORDS,). limit: tokens at which the sequence ends."""
    return settings_row(
        temperature=max(params.temperature, COLDEST) if params.temperature else 0.0,
        top_k=min(params.top_k, 0xFFFFFFFF),
        top_p=max(params.top_p, COLDEST),
        log_min_p=math.log(params.min_p) if params.min_p else KEEPS_ALL,
        repeat_penalty=params.repeat_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        seed_low=seed & 0xFFFFFFFF,
        seed_high=seed >> 32,
        limit=limit,
        biases=len(params.logit_bias),
    )


def as_biases(params: SamplingParams) -> np.ndarray:
    """u32 (MOST_BIASES, 2): ids and the bits of float32 values."""
    out = np.zeros((MOST_BIASES, 2), np.uint32)
    if params.logit_bias:
        out[: len(params.logit_bias), 0] = list(params.logit_bias)
        out[: len(params.logit_bias), 1] = np.array(list(params.logit_bias.values()), np.float32).view(np.uint32)
    return out
