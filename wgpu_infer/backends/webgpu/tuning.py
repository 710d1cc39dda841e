"""Tuned variants: which of an op's candidates is fastest here, measured on a model's own buffers and kept on disk.

A choice belongs to an adapter and its driver, an op, a format and a weight's shape, never to a number of tokens: so a
sequence is summed alike alone and in a batch. Only matmul, whose tiles all sum alike, tells short prompts from long.
Constants that follow the number of tokens are left to `variants`.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wgpu_infer import kept
from wgpu_infer.backends.timing import Tuned, tokens_of
from wgpu_infer.backends.webgpu import shader, variants
from wgpu_infer.backends.webgpu.caps import Caps
from wgpu_infer.backends.webgpu.device import GpuDevice
from wgpu_infer.backends.webgpu.recorder import Dispatch
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.backends.webgpu.timestamps import Timestamps
from wgpu_infer.backends.webgpu.variants import Variant
from wgpu_infer.contracts.contract import Op
from wgpu_infer.contracts.table import OPS
from wgpu_infer.errors import ParameterError, UnsupportedError

VERSION = 1
FILE = "tuning.json"
BY_TOKENS = ("TOKENS",)  # constants that follow the number of tokens and change no sum
SHORT = 32  # tokens up to which another tile may serve a product of a prompt best
SHAPE = ("rows", "cols", "heads", "kv_heads", "head_dim")
REPEATS = 5
BUDGET = 3.0  # seconds, when a model is loaded
LAYERS = 4  # so many layers' buffers in turn, that a small weight is not read from a cache
GAIN = 0.97  # another variant than the default must take less than this share of its time


class Choices:
    """The kept choices of one device. `pick` answers without measuring."""

    def __init__(self, device: GpuDevice):
        self.device = f"{VERSION}|{device.info.summary()}|{device.caps}|{digest()}"
        known = kept.load(FILE).get(self.device)
        self.known: dict[str, Any] = known if isinstance(known, dict) else {}

    def pick(self, op: Op, fmt: str | None, params: Mapping[str, Any], caps: Caps) -> Variant:
        """The kept variant where it is still a candidate, else the default."""
        entry = self.known.get(key_of(op, fmt, params))
        if entry is None:
            return variants.choose(op, fmt, params, caps)
        found = variants.candidates(op, fmt, params, caps)
        return next((v for v in found if describe(v) == entry), found[0])

    def keep(self, chosen: Mapping[str, Variant]) -> None:
        self.known |= {key: describe(variant) for key, variant in chosen.items()}
        kept.save(FILE, kept.load(FILE) | {self.device: self.known})


def budget(is_software: bool) -> float:
    """Seconds for tuning when a model is loaded: WGPU_INFER_TUNE, else none on a software adapter."""
    try:
        return float(os.environ.get("WGPU_INFER_TUNE") or (0.0 if is_software else BUDGET))
    except ValueError as error:
        raise ParameterError(f"WGPU_INFER_TUNE={os.environ['WGPU_INFER_TUNE']!r:.60} must be seconds") from error


def digest() -> str:
    """Of all shaders: choices made for others are not kept."""
    files = sorted(shader.shader_root().rglob("*.wgsl"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def key_of(op: Op, fmt: str | None, params: Mapping[str, Any]) -> str:
    """What a choice is made for. The rows of ops without a weight are tokens, which do not count."""
    names = [name for name in SHAPE if name in params and (name != "rows" or op.weight is not None)]
    short = ["short"] if op.name.startswith("matmul") and params["tokens"] <= SHORT else []
    return " ".join([op.name, fmt or "-", *(f"{name}={params[name]}" for name in names), *short])


def describe(variant: Variant) -> str:
    constants = [f"{name}={value}" for name, value in variant.constants if name not in BY_TOKENS]
    return " ".join([variant.shader, *constants])


@dataclass(frozen=True)
class Tuner:
    """Measures candidates. `rebuild` makes the dispatch of another variant on the same buffers; `progress` is told of
    (ops that are done with, ops that have a choice)."""

    runtime: Runtime
    choices: Choices
    caps: Caps
    rebuild: Callable[[Dispatch, Variant], Dispatch]
    progress: Callable[[int, int], None]

    def tune(self, dispatches: Iterable[Dispatch], seconds: float, again: bool = False) -> list[Tuned]:
        """Measures what has several candidates and no choice yet (or all, `again`), within a budget of seconds.

        What the budget leaves out keeps its default from now on, so that results stay the same until tuned again.
        """
        ends = time.monotonic() + seconds
        chosen, report = {}, []
        open_ones = self.undecided(dispatches, again)
        for done, (key, alike) in enumerate(open_ones.items(), 1):
            found = self.candidates(alike[0])
            chosen[key] = found[0]
            if time.monotonic() < ends:
                times = self.measure(alike, found)
                chosen[key] = fastest(found, times)
                best = found.index(chosen[key])
                report.append(Tuned(key, describe(chosen[key]), len(found), times[0], times[best]))
            self.progress(done, len(open_ones))
        if chosen:
            self.choices.keep(chosen)
        return report

    def undecided(self, dispatches: Iterable[Dispatch], again: bool) -> dict[str, list[Dispatch]]:
        """Those with several candidates, and no choice yet unless they are to be measured again."""
        groups = self.group(dispatches).items()
        known = {} if again else self.choices.known
        return {key: alike for key, alike in groups if key not in known and len(self.candidates(alike[0])) > 1}

    def group(self, dispatches: Iterable[Dispatch]) -> dict[str, list[Dispatch]]:
        """At most LAYERS dispatches for each choice to be made, all of as many tokens as the first."""
        groups: dict[str, list[Dispatch]] = defaultdict(list)
        for d in dispatches:
            if d.op in OPS:
                alike = groups[key_of(OPS[d.op], d.format, d.params)]
                if len(alike) < LAYERS and (not alike or tokens_of(d.params) == tokens_of(alike[0].params)):
                    alike.append(d)
        return groups

    def candidates(self, d: Dispatch) -> list[Variant]:
        return variants.candidates(OPS[d.op], d.format, d.params, self.caps)

    def measure(self, alike: Sequence[Dispatch], found: Sequence[Variant]) -> list[float]:
        """Seconds of one dispatch for each variant: medians, measured in turn, after a round to warm up. Of a product
        that is too much for a submission, its first rows."""
        alike = [self.runtime.pace.parts(d)[0] for d in alike]
        lists = [[self.rebuild(d, variant) for d in alike] for variant in found]
        clock = stopwatch(self.runtime)
        rounds = [[clock(dispatches) / len(alike) for dispatches in lists] for _ in range(REPEATS + 1)]
        return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


def fastest(found: Sequence[Variant], times: Sequence[float]) -> Variant:
    """The default, which is first, unless another is faster by more than chance."""
    best = min(range(len(found)), key=lambda i: times[i])
    return found[best] if times[best] < GAIN * times[0] else found[0]


def stopwatch(runtime: Runtime) -> Callable[[Sequence[Dispatch]], float]:
    """What runs dispatches and says how long they took: by the GPU's clock, or by ours where it has none."""
    try:
        return Timestamps(runtime).together
    except UnsupportedError:
        return lambda dispatches: wall_time(runtime, dispatches)


def wall_time(runtime: Runtime, dispatches: Sequence[Dispatch]) -> float:
    runtime.buffers.wait_idle()
    start = time.perf_counter()
    for d in dispatches:
        runtime.recorder.dispatch(d)
    runtime.buffers.wait_idle()
    return time.perf_counter() - start
