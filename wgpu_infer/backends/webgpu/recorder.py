"""Queues dispatches in one compute pass and submits them together.

wgpu puts the memory barriers between dispatches, so what is recorded runs in order. A write lands before the next
submit, not between dispatches; whoever writes flushes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wgpu_infer.backends.webgpu import native
from wgpu_infer.backends.webgpu.device import GpuDevice
from wgpu_infer.backends.webgpu.pace import Pace
from wgpu_infer.contracts.contract import PARAMS_BYTES

MAX_QUEUED = 512  # dispatches per submission


@dataclass(frozen=True, eq=False)
class Dispatch:
    """One dispatch, ready to be queued as often as wanted.

    immediates: PARAMS_BYTES bytes. op, format, params: what it is, for people and profilers (`params` of this piece of
    its weight). work: operations at most. cut: the same for some of its weight's rows only, from a multiple of
    pace.CUT_ROWS on. keep: what must stay in memory as long as this.
    """

    op: str
    pipeline: Any
    bind_group: Any
    immediates: np.ndarray
    groups: tuple[int, int, int]
    format: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    work: float = 0.0
    cut: Callable[[range], Dispatch] | None = None
    keep: Sequence[Any] = ()


class Recorder:
    def __init__(self, device: GpuDevice, pace: Pace):
        self.device, self.pace = device, pace
        self.queued = 0
        self._filled = 0.0  # of what a submission may hold
        self._encoder: Any = None
        self._pass: Any = None

    def dispatch(self, dispatch: Dispatch) -> None:
        for part in self.pace.parts(dispatch):
            self._dispatch(part)

    def _dispatch(self, dispatch: Dispatch) -> None:
        """The pipeline is set first: setting one may reset the immediates."""
        share = dispatch.work / self.pace.limit(dispatch.op)
        if self.queued and (self.queued >= MAX_QUEUED or self._filled + share > 1.0):
            self.flush()
        with self.device.errors("recording a dispatch"):
            if self._pass is None:
                self._pass = self._open_encoder().begin_compute_pass()
            self._pass.set_pipeline(dispatch.pipeline)
            self._pass.set_bind_group(0, dispatch.bind_group)
            self._pass.set_immediates(0, dispatch.immediates, 0, PARAMS_BYTES)
            self._pass.dispatch_workgroups(*dispatch.groups)
        self.queued += 1
        self._filled += share

    def copy(self, source: Any, offset: int, target: Any, nbytes: int) -> None:
        with self.device.errors("recording a copy"):
            encoder = self._open_encoder()
            self._end_pass()
            encoder.copy_buffer_to_buffer(source, offset, target, 0, -(-nbytes // 4) * 4)

    def clear(self, buffer: Any, nbytes: int) -> None:
        with self.device.errors("recording a clearing"):
            encoder = self._open_encoder()
            self._end_pass()
            encoder.clear_buffer(buffer, 0, nbytes)

    def flush(self) -> int | None:
        """Submits what is queued. The submission's number, where there was one and wgpu-native says it."""
        if self._encoder is None:
            return None
        self._end_pass()
        encoder = self._encoder
        self.drop()
        with self.device.errors("finishing the recorded work"):  # fails on a lost device, so none is submitted to
            commands = encoder.finish()
        return self._submit([commands])

    def submit_nothing(self) -> None:
        """An empty submit: starts pending writes and lets wgpu free what it is done with."""
        self.device.check_alive()  # submitting to a lost device would abort the process
        self._submit([])

    def drop(self) -> None:
        """Forgets what is queued."""
        self._encoder = self._pass = None
        self.queued, self._filled = 0, 0.0

    def _open_encoder(self) -> Any:
        if self._encoder is None:
            self.device.check_alive()
            self._encoder = self.device.handle.create_command_encoder()
        return self._encoder

    def _end_pass(self) -> None:
        if self._pass is not None:
            self._pass.end()
            self._pass = None

    def _submit(self, commands: list[Any]) -> int | None:
        with self.device.errors("submitting"):
            return native.submit(self.device.handle.queue, commands)
