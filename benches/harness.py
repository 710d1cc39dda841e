"""One harness for the benchmarks here: contenders measured in turn, medians, ratios with their spread, a table, JSON.

A measurement is a function that does its work once and returns a rate, so higher is better (tokens/s, GB/s). Contenders
alternate (A B A B ...), and a ratio is formed within one alternation: a machine that slows down or gets busy slows both
of its parts. A `probe` measures the machine itself before the first and after every alternation. Nothing here knows
what is measured.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

Measure = Callable[[], float]
Row = dict[str, Any]

ALTERNATIONS = 5
PAUSE_S = 0.05  # before each measurement: threads of the one before have stopped spinning by then
PACKAGES = ("wgpu-infer", "numpy", "numba", "llvmlite", "wgpu", "llama-cpp-python")


@dataclass(frozen=True)
class Spread:
    """The median of some measurements, the lowest and the highest of them."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Runs:
    """Rates by contender, one per alternation, and the probe's values around them (one more, or none)."""

    rates: dict[str, list[float]]
    probes: list[float] = field(default_factory=list)

    def ratios(self, name: str, peer: str) -> list[float]:
        """How many times the peer's rate a contender reached, per alternation."""
        return [own / other for own, other in zip(self.rates[name], self.rates[peer], strict=True)]

    def shares(self, name: str, scale: float = 1.0) -> list[float]:
        """A contender's rate times `scale` over the mean of the probes before and after it, per alternation."""
        around = [(before + after) / 2 for before, after in zip(self.probes, self.probes[1:], strict=False)]
        return [scale * own / probe for own, probe in zip(self.rates[name], around, strict=True)]


def alternate(
    contenders: Mapping[str, Measure],
    times: int = ALTERNATIONS,
    warmups: int = 1,
    probe: Measure | None = None,
    pause_s: float = PAUSE_S,
) -> Runs:
    """Measures every contender `times` times in turn, after `warmups` rounds whose values are dropped."""

    def paused(measure: Measure) -> float:
        time.sleep(pause_s)
        return measure()

    for _ in range(warmups):
        for measure in contenders.values():
            paused(measure)
    runs = Runs({name: [] for name in contenders})
    for turn in range(times + 1):
        if probe is not None:
            runs.probes.append(paused(probe))
        if turn < times:
            for name, measure in contenders.items():
                runs.rates[name].append(paused(measure))
    return runs


@dataclass(frozen=True)
class Column:
    """`spec` formats a number, which then stands at the right; text stands at the left. None is shown as -."""

    title: str
    width: int
    spec: str = ""

    def cell(self, value: Any) -> str:
        text = "-" if value is None else format(value, self.spec)
        return text.rjust(self.width) if self.spec else text.ljust(self.width)


@dataclass(frozen=True)
class Table:
    """Lines of fixed columns, so that a row can be printed as soon as it is measured."""

    columns: tuple[Column, ...]

    def header(self) -> str:
        titles = [c.title.rjust(c.width) if c.spec else c.title.ljust(c.width) for c in self.columns]
        return "  ".join(titles).rstrip()

    def line(self, values: Sequence[Any]) -> str:
        cells = [column.cell(value) for column, value in zip(self.columns, values, strict=True)]
        return "  ".join(cells).rstrip()


def machine() -> dict[str, Any]:
    """What a result depends on besides the code: date, processor, cores, load, versions."""
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | installed_versions(),
    }


def describe(machine: Mapping[str, Any]) -> str:
    versions = " ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores  {versions}"


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Hardware threads that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass
class Report:
    """Results on their way to a JSON file (no path: nowhere), written with every row: a stopped run keeps its own."""

    path: Path | None
    head: Row
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self.path is None:
            return
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(json.dumps(self.head | {"rows": self.rows}, indent=1) + "\n")
        new.replace(self.path)
