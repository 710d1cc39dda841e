"""Profile: where the time of a model's steps went, op by op. `with llm.profile() as profile: ...`, then print it.

On a GPU a third of the steps run one dispatch at a time, each between two timestamps of the GPU; a third are timed as
a whole; a third run as usual and give the CPU's times. On the CPU every op is timed by itself. Shares of the roof
compare an op with what this device was measured to reach in a copy and in plain arithmetic, whichever bounds the op.
"""

from __future__ import annotations

import json
import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wgpu_infer.backends.timing import Event, Rates, Timing
from wgpu_infer.contracts.table import OPS
from wgpu_infer.contracts.work import Work, work
from wgpu_infer.errors import UnsupportedError

HEADER = ("op", "format", "shape", "calls", "ms", "share", "us each", "GB/s", "GFLOP/s", "of roof", "bound by")


@dataclass(frozen=True)
class Row:
    """All calls of an op with one format and shape. `roof` is the larger share of the two rates, `bound` which."""

    op: str
    format: str
    shape: str
    calls: int
    seconds: float
    share: float
    work: Work
    roof: float | None = None
    bound: str = ""

    @property
    def gb_s(self) -> float:
        return self.work.nbytes / max(self.seconds, 1e-12) / 1e9

    @property
    def gflop_s(self) -> float:
        return self.work.operations / max(self.seconds, 1e-12) / 1e9

    def cells(self) -> tuple[str, ...]:
        roof = "-" if self.roof is None else f"{self.roof:.0%}"
        each = 1e6 * self.seconds / self.calls
        numbers = (f"{1e3 * self.seconds:.3f}", f"{self.share:.1%}", f"{each:.1f}", f"{self.gb_s:.2f}")
        return (
            *(self.op, self.format, self.shape, str(self.calls)),
            *(*numbers, f"{self.gflop_s:.2f}", roof, self.bound),
        )


@dataclass
class Profile:
    """Filled while its `with` block runs. `device` in words; `layer_dispatches` of a decode step, None where none."""

    device: str = ""
    layer_dispatches: int | None = None
    timing: Timing = field(default_factory=Timing)

    @property
    def rows(self) -> list[Row]:
        """One per op, format and shape, the longest first."""
        groups: dict[tuple[str, str, str], list[Event]] = defaultdict(list)
        for event in self.timing.events:
            groups[event.op, event.format or "", shape_of(event)].append(event)
        total = sum(event.seconds for event in self.timing.events) or 1.0
        made = [make_row(key, events, total, self.timing.rates) for key, events in groups.items()]
        return sorted(made, key=lambda row: -row.seconds)

    @property
    def cpu(self) -> dict[str, float]:
        """Mean seconds of CPU time per span, by what was done."""
        kinds: dict[str, list[float]] = defaultdict(list)
        for span in self.timing.spans:
            kinds[span.what].append(span.seconds)
        return {what: sum(times) / len(times) for what, times in kinds.items()}

    def __str__(self) -> str:
        rows = self.rows
        if not rows:
            return f"{self.device}: nothing ran while this was profiled"
        lines = [self.device, *lines_of([HEADER, *(row.cells() for row in rows)]), *self._summary()]
        return "\n".join(lines)

    def _summary(self) -> list[str]:
        timing = self.timing
        lines = [self._steps_line(tokens) for tokens in sorted({step.tokens for step in timing.steps})]
        if self.layer_dispatches is not None:
            lines.append(f"a layer of a decode step takes {self.layer_dispatches} dispatches")
        if timing.rates:
            lines.append(f"this device reaches {describe_rates(timing.rates)}")
        if cpu := self.cpu:
            lines.append("CPU time: " + ", ".join(f"{what} {1e6 * s:.0f} us" for what, s in cpu.items()))
        return lines

    def _steps_line(self, tokens: int) -> str:
        """Of all steps with so many tokens."""
        steps = [step for step in self.timing.steps if step.tokens == tokens]
        parts = [f"{len(steps)} steps of {tokens} token{'s' * (tokens != 1)} timed, {steps[0].calls} calls each"]
        for apart, how in ((True, "one by one"), (False, "together")):
            if times := [step.seconds for step in steps if step.apart == apart]:
                parts.append(f"{1e3 * statistics.median(times):.3f} ms {how}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """JSON-like: the rows and what is printed under them."""
        rows = [dict(zip(HEADER, row.cells(), strict=True)) | {"seconds": row.seconds} for row in self.rows]
        rates = vars(self.timing.rates) if self.timing.rates else None
        return {
            "device": self.device,
            "steps": [vars(step) for step in self.timing.steps],
            "layer_dispatches": self.layer_dispatches,
            "rates": rates,
            "cpu_s": self.cpu,
            "rows": rows,
        }

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Writes a trace that https://ui.perfetto.dev and chrome://tracing open. GPU times begin with the CPU's."""
        events = self.timing.events
        shift = first_start(self.timing.spans) - first_start(events) if self.timing.spans and events else 0.0
        origin = first_start(self.timing.spans or events)
        out = [named(1, self.device or "device"), named(2, "CPU")]
        out += [complete(1, label(e), e.start + shift - origin, e.seconds, describe(e)) for e in events]
        out += [complete(2, s.what, s.start - origin, s.seconds, {}) for s in self.timing.spans]
        Path(path).write_text(json.dumps({"traceEvents": out, "displayTimeUnit": "ms"}, default=str))

    def plot(self, top: int = 12) -> Any:
        """A matplotlib figure: time per op, and each op under this device's roofline. Needs wgpu-infer[notebook]."""
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise UnsupportedError("plots need matplotlib: pip install matplotlib") from error
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
        pyplot.close(figure)  # a notebook shows what is returned, once
        rows = self.rows[:top]
        names = [f"{row.op} {row.format} {row.shape}" for row in rows]
        left.barh(names[::-1], [1e3 * row.seconds for row in rows[::-1]])
        left.set_xlabel("ms")
        draw_roofline(right, rows, self.timing.rates)
        return figure


def make_row(key: tuple[str, str, str], events: Sequence[Event], total: float, rates: Rates | None) -> Row:
    each = [work(OPS[e.op], e.params, e.format, e.keys) for e in events if e.op in OPS]
    done = Work(sum(w.operations for w in each), sum(w.nbytes for w in each))
    seconds = sum(e.seconds for e in events)
    row = Row(*key, len(events), seconds, seconds / total, done)
    if rates is None or not each:
        return row
    peak = rates.int8 if key[0].endswith("_act8") and OPS[key[0]].weight else rates.float32
    shares = {"memory": 1e9 * row.gb_s / rates.copy, "arithmetic": 1e9 * row.gflop_s / peak}
    bound = max(shares, key=lambda name: shares[name])
    return Row(*key, len(events), seconds, seconds / total, done, shares[bound], bound)


def shape_of(event: Event) -> str:
    """What tells calls of one op apart: the weight's shape, and the tokens where there are several."""
    p = event.params
    parts = [f"{p['rows']}x{p['cols']}"] if "cols" in p and "rows" in p else []
    tokens = p.get("tokens", 1)
    return " ".join([*parts, *([f"{tokens} tokens"] if tokens > 1 else [])])


def lines_of(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need; the first three at the left."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    sides = [str.ljust] * 3 + [str.rjust] * (len(widths) - 3)
    return [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in table
    ]


def describe_rates(r: Rates) -> str:
    copied, float32, int8 = (rate / 1e9 for rate in (r.copy, r.float32, r.int8))
    return f"{copied:.1f} GB/s copied, {float32:.0f} GFLOP/s float32, {int8:.0f} GOP/s int8"


def label(event: Event) -> str:
    return " ".join(part for part in (event.op, event.format) if part)


def describe(event: Event) -> dict[str, Any]:
    return {"step": event.step, **event.params}


def first_start(timed: Sequence[Any]) -> float:
    return min((each.start for each in timed), default=0.0)


def named(track: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": "thread_name", "pid": 1, "tid": track, "args": {"name": name}}


def complete(track: int, name: str, start: float, seconds: float, args: dict[str, Any]) -> dict[str, Any]:
    """One bar, in microseconds."""
    return {"ph": "X", "name": name, "pid": 1, "tid": track, "ts": 1e6 * start, "dur": 1e6 * seconds, "args": args}


def draw_roofline(axes: Any, rows: Sequence[Row], rates: Rates | None) -> None:
    """Operations per byte against operations per second, both logarithmic."""
    counted = [row for row in rows if row.work.operations > 0]
    for row in counted:
        axes.loglog(row.work.operations / row.work.nbytes, row.gflop_s, "o", label=f"{row.op} {row.format}".strip())
    if rates is not None:
        span = [0.01, 1000.0]
        for name, peak in (("float32", rates.float32), ("int8", rates.int8)):
            roof = [min(x * rates.copy, peak) / 1e9 for x in span]
            axes.loglog(span, roof, "-", linewidth=0.8, label=f"roof, {name}")
    axes.set_xlabel("operations per byte")
    axes.set_ylabel("GFLOP/s")
    if counted:
        axes.legend(fontsize=7)
