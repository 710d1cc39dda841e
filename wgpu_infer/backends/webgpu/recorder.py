"""Queues dispatches in one compute pass and submits them together.

wgpu puts the memory barriers between dispatches, so what is recorded runs in order. A write lands before the next
submit, not between dispatches; whoever writes flushes first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wgpu_infer.backends.webgpu.device import GpuDevice
from wgpu_infer.contracts.contract import PARAMS_BYTES

MAX_QUEUED = 512  # dispatches per submit, so that no submit runs for seconds (systems reset a GPU that does)


class Recorder:
    def __init__(self, device: GpuDevice):
        self.device = device
        self.queued = 0
        self._encoder: Any = None
        self._pass: Any = None

    def dispatch(self, pipeline: Any, bind_group: Any, immediates: np.ndarray, groups: tuple[int, int, int]) -> None:
        """immediates: PARAMS_BYTES bytes. The pipeline is set first: setting one may reset the immediates."""
        with self.device.errors("recording a dispatch"):
            if self._pass is None:
                self._pass = self._open_encoder().begin_compute_pass()
            self._pass.set_pipeline(pipeline)
            self._pass.set_bind_group(0, bind_group)
            self._pass.set_immediates(0, immediates, 0, PARAMS_BYTES)
            self._pass.dispatch_workgroups(*groups)
        self.queued += 1
        if self.queued >= MAX_QUEUED:
            self.flush()

    def copy(self, source: Any, offset: int, target: Any, nbytes: int) -> None:
        with self.device.errors("recording a copy"):
            encoder = self._open_encoder()
            self._end_pass()
            encoder.copy_buffer_to_buffer(source, offset, target, 0, -(-nbytes // 4) * 4)

    def flush(self) -> None:
        """Submits what is queued."""
        if self._encoder is None:
            return
        self._end_pass()
        encoder, self._encoder, self.queued = self._encoder, None, 0
        with self.device.errors("finishing the recorded work"):
            commands = encoder.finish()
        self._submit([commands])

    def submit_nothing(self) -> None:
        """An empty submit: starts pending writes and lets wgpu free what it is done with."""
        self._submit([])

    def drop(self) -> None:
        """Forgets what is queued."""
        self._encoder = self._pass = None
        self.queued = 0

    def _open_encoder(self) -> Any:
        if self._encoder is None:
            self.device.check_alive()
            self._encoder = self.device.handle.create_command_encoder()
        return self._encoder

    def _end_pass(self) -> None:
        if self._pass is not None:
            self._pass.end()
            self._pass = None

    def _submit(self, commands: list[Any]) -> None:
        self.device.check_alive()  # submitting to a lost device would abort the process
        with self.device.errors("submitting"):
            self.device.handle.queue.submit(commands)
