"""Checks of numbers that users pass: numpy's become Python's, bools are refused, errors say what is allowed."""

from __future__ import annotations

import numbers
from typing import Any

from wgpu_infer.errors import ParameterError

REAL: Any = numbers.Real  # to the type checker it has no order


def whole(name: str, value: Any, low: int, high: int) -> int:
    """The value as an int of low to high, both allowed. ParameterError names it otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= int(value) <= high:
        raise ParameterError(f"{name}={shown(value)} must be a whole number from {low} to {high}")
    return int(value)


def number(name: str, value: Any, low: float, high: float, above: bool = False) -> float:
    """The value as a float of low to high, `low` itself not allowed if `above`. ParameterError names it otherwise."""
    fits = isinstance(value, REAL) and not isinstance(value, bool) and low <= value <= high
    if not fits or (above and value == low):
        allowed = f"above {low} and at most {high}" if above else f"from {low} to {high}"
        raise ParameterError(f"{name}={shown(value)} must be a number {allowed}")
    return float(value)


def shown(value: Any) -> str:
    """A value as an error message can hold it."""
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python refuses to print integers of thousands of digits
        return f"a {type(value).__name__} of too many digits"
