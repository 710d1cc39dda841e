"""A claim's outcome: a figure, the limit it is held to, the verdict."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benches.harness import Measure, Row

SIGNS = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}
MEASURE_S = 0.02  # that a measurement on one thread lasts
TOGETHER_S = 0.2  # on two: threads that were asleep may share a core for the first 10 ms and more


@dataclass(frozen=True)
class Finding:
    """What was measured, at what, and how that is to stand to the limit. each: every measurement, for the JSON file."""

    what: str
    figure: float
    sign: str
    limit: float
    unit: str
    detail: str = ""
    each: Any = None

    @property
    def verdict(self) -> str:
        """A figure that is not a number holds nothing."""
        return "HOLDS" if SIGNS[self.sign](self.figure, self.limit) else "FALSIFIED"

    def row(self) -> Row:
        return vars(self) | {"verdict": self.verdict}


Findings = Iterator[Finding]


def rate_of(work: Callable[[], Any], seconds: float = MEASURE_S) -> Measure:
    """Runs of `work` per second, over as many as take so many seconds."""

    def measure() -> float:
        begun, runs, passed = time.perf_counter(), 0, 0.0
        while passed < seconds:
            work()
            runs += 1
            passed = time.perf_counter() - begun
        return runs / passed

    return measure
