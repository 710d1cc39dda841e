"""How far a backend may be from the float64 reference, per element. The figures are those of the design's "Numbers"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def exact(_operands: Mapping[str, Any], _expected: np.ndarray, _params: Mapping[str, Any]) -> float:
    return 0.0


def one_rounding(_operands: Mapping[str, Any], expected: np.ndarray, _params: Mapping[str, Any]) -> np.ndarray:
    """A result that is one f32 operation away from its operands."""
    return np.abs(expected) * 2e-7 + 1e-37


def dot(operands: Mapping[str, Any], _expected: np.ndarray, _params: Mapping[str, Any]) -> np.ndarray:
    """|y - r| <= 1e-5 · Σ|w·x| for y = x·Wᵀ."""
    w = np.abs(operands["w"].values().astype(np.float64))
    return 1e-5 * (np.abs(operands["x"].astype(np.float64)) @ w.T) + 1e-37


def norm(_operands: Mapping[str, Any], expected: np.ndarray, _params: Mapping[str, Any]) -> np.ndarray:
    """1e-4 relative; elements that cancel to nearly nothing are judged against their row."""
    row = np.sqrt(np.mean(np.square(expected), axis=-1, keepdims=True))
    return 1e-4 * np.maximum(np.abs(expected), 1e-2 * row) + 1e-37


def activation(_operands: Mapping[str, Any], expected: np.ndarray, _params: Mapping[str, Any]) -> np.ndarray:
    """1e-5 of the result, or of 1 where it is smaller."""
    return 1e-5 * np.maximum(np.abs(expected), 1.0)


def dot_act8(operands: Mapping[str, Any], _expected: np.ndarray, _params: Mapping[str, Any]) -> np.ndarray:
    """|y - r| <= 1e-5 · Σ|w·x| for y = x·Wᵀ, x being the values of the int8 activations."""
    w = np.abs(operands["w"].values().astype(np.float64))
    return 1e-5 * (np.abs(operands["x"].values()) @ w.T) + 1e-37


def act8_scale(_operands: Mapping[str, Any], expected: np.ndarray, _params: Mapping[str, Any]) -> np.ndarray:
    """Of an act8 result's scales; its codes are judged by compare.py: within 1, at most 0.1 % of them off."""
    return 1e-5 * np.abs(expected) + 1e-43
