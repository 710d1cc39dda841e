"""A claim's outcome: a figure, the limit it is held to, the verdict."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benches.harness import Measure, Row

SIGNS = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}
MEASURE_S = 0.02  # that a measurement of something short lasts


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


def rate_of(work: Callable[[], Any]) -> Measure:
    """Runs of `work` per second, over as many as take MEASURE_S."""

    def measure() -> float:
        begun, runs, seconds = time.perf_counter(), 0, 0.0
        while seconds < MEASURE_S:
            work()
            runs += 1
            seconds = time.perf_counter() - begun
        return runs / seconds

    return measure


def rate_of_each(calls: list[Callable[[], Any]]) -> Measure:
    """Calls per second, over one of each in turn: what one of them left in the cache, the others have driven out."""

    def measure() -> float:
        begun = time.perf_counter()
        for call in calls:
            call()
        return len(calls) / (time.perf_counter() - begun)

    return measure
