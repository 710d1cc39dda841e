"""GPU time of dispatches by timestamp queries: each alone (in a pass of its own), or a list of them in one pass.

Passes of their own cost a little more than dispatches that share one, and nothing overlaps; every adapter with the
feature timestamp-query can time them, and no adapter needs queries inside passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wgpu_infer.backends.webgpu import native
from wgpu_infer.backends.webgpu.adapters import open_wgpu
from wgpu_infer.backends.webgpu.pace import main_op
from wgpu_infer.backends.webgpu.program import split
from wgpu_infer.backends.webgpu.recorder import MAX_QUEUED, Dispatch
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.contracts.contract import PARAMS_BYTES
from wgpu_infer.errors import UnsupportedError


class Timestamps:
    """Times dispatches on one device; use it under the runtime's lock. UnsupportedError where the GPU has no clock."""

    def __init__(self, runtime: Runtime):
        device = runtime.device
        if "timestamp-query" not in device.features:
            raise UnsupportedError(f"{device.info.summary()} has no timestamp queries, so its work cannot be timed")
        self.runtime = runtime
        usage = open_wgpu().BufferUsage
        with device.errors("making timestamp queries"):
            self._queries = device.handle.create_query_set(type="timestamp", count=2 * MAX_QUEUED)
            self._ticks = device.handle.create_buffer(
                size=16 * MAX_QUEUED, usage=usage.QUERY_RESOLVE | usage.COPY_SRC | usage.COPY_DST
            )
        self._seconds_per_tick = 1e-9 * native.timestamp_period(device.handle.queue)

    def apart(self, dispatches: Sequence[Dispatch]) -> np.ndarray:
        """float64 (dispatches, 2): begin and end of each in seconds of the GPU's clock. Runs them, and waits."""
        return np.concatenate([self._run([[d] for d in part]) for part in self._split(dispatches)])

    def together(self, dispatches: Sequence[Dispatch]) -> float:
        """Seconds that the dispatches take one after the other, in a pass per submission. Runs them, and waits."""
        return sum(float(end - begin) for part in self._split(dispatches) for begin, end in self._run([part]))

    def _split(self, dispatches: Sequence[Dispatch]) -> list[list[Dispatch]]:
        return split(dispatches, self.runtime.pace.limit(main_op(dispatches)[0]))

    def _run(self, passes: Sequence[Sequence[Dispatch]]) -> np.ndarray:
        """(passes, 2) seconds."""
        device = self.runtime.device
        self.runtime.recorder.flush()
        device.check_alive()
        with device.errors("timing"):
            encoder = device.handle.create_command_encoder()
            for i, dispatches in enumerate(passes):
                self._record(encoder, i, dispatches)
            encoder.resolve_query_set(self._queries, 0, 2 * len(passes), self._ticks, 0)
            device.handle.queue.submit([encoder.finish()])
        device.check_alive()
        with device.errors("reading timestamps"):
            ticks = np.frombuffer(device.handle.queue.read_buffer(self._ticks, 0, 16 * len(passes)), np.uint64)
        return (ticks - ticks[0]).astype(np.int64).reshape(-1, 2) * self._seconds_per_tick + self._origin(ticks[0])

    def _origin(self, tick: Any) -> float:
        return float(tick) * self._seconds_per_tick

    def _record(self, encoder: Any, number: int, dispatches: Sequence[Dispatch]) -> None:
        compute = encoder.begin_compute_pass(
            timestamp_writes={
                "query_set": self._queries,
                "beginning_of_pass_write_index": 2 * number,
                "end_of_pass_write_index": 2 * number + 1,
            }
        )
        for d in dispatches:
            compute.set_pipeline(d.pipeline)
            compute.set_bind_group(0, d.bind_group)
            compute.set_immediates(0, d.immediates, 0, PARAMS_BYTES)
            compute.dispatch_workgroups(*d.groups)
        compute.end()
