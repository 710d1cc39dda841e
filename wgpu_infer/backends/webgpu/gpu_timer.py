"""Times the programs of a model: a turn op by op, a turn all together, a turn as usual with the CPU's clock beside it.

A timed turn runs the same dispatches on the same data, so what is generated stays the same; it also waits for the GPU,
so steps that would be submitted ahead are not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wgpu_infer.backends.timing import Event, Span, Step, Timing, tokens_of
from wgpu_infer.backends.webgpu.rates import measure
from wgpu_infer.backends.webgpu.recorder import Dispatch
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.backends.webgpu.timestamps import Timestamps
from wgpu_infer.contracts.work import Keys
from wgpu_infer.errors import ParameterError

if TYPE_CHECKING:
    from wgpu_infer.backends.webgpu.program import Program


class GpuTimer:
    """`start` puts it into the runtime, whose programs then call `step`. Raises UnsupportedError without timestamps."""

    def __init__(self, runtime: Runtime, keys: Callable[[], Keys | None]):
        self.runtime, self.keys = runtime, keys
        self.timing = Timing()
        self._turns: Counter[int] = Counter()
        self._timestamps = Timestamps(runtime)

    def start(self) -> None:
        with self.runtime.lock:
            if self.runtime.timer is not None:
                raise ParameterError("this model is being profiled already")
            self.timing.rates = self.runtime.rates = self.runtime.rates or measure(self.runtime, self._timestamps)
            self.runtime.timer = self

    def stop(self) -> None:
        with self.runtime.lock:
            self.runtime.timer = None

    def step(self, program: Program, issue: Sequence[tuple[str, Callable[[], None]]]) -> None:
        """One call of a program. `issue`: what issues it as usual, by what that is."""
        turn = self._turns[id(program)] % 3
        self._turns[id(program)] += 1
        if turn == 0:
            self._apart(program.dispatches)
        elif turn == 1:
            seconds = self._timestamps.together(program.dispatches)
            self._count(program.dispatches, seconds, apart=False)
        else:
            for what, action in issue:
                self.span(what, action)

    def span(self, what: str, action: Callable[[], None]) -> None:
        start = time.perf_counter()
        action()
        self.timing.spans.append(Span(what, start, time.perf_counter() - start))

    def _apart(self, dispatches: Sequence[Dispatch]) -> None:
        keys, number = self.keys(), len(self.timing.steps)
        times = self._timestamps.apart(dispatches)
        for d, (begin, end) in zip(dispatches, times.tolist(), strict=True):
            self.timing.events.append(Event(d.op, d.format, d.params, keys, number, begin, end - begin))
        self._count(dispatches, float((times[:, 1] - times[:, 0]).sum()), apart=True)

    def _count(self, dispatches: Sequence[Dispatch], seconds: float, apart: bool) -> None:
        tokens = max((tokens_of(d.params) for d in dispatches), default=0)
        self.timing.steps.append(Step(tokens, len(dispatches), seconds, apart))
