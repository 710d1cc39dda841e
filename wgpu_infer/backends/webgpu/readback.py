"""Reading back while the device goes on: a copy into a staging buffer of its own now, the wait for it later.

The wait is for the copy's submission alone, never for what was submitted after it; so it needs the number that
wgpu-native gives a submission. Where that is not to be had, waiting takes as long as all that is in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from wgpu_infer.backends.webgpu import native
from wgpu_infer.backends.webgpu.resources import GpuBuffer
from wgpu_infer.backends.webgpu.runtime import Runtime

SMALLEST = 1 << 10  # bytes of a staging buffer


class Readback:
    """Holds staging buffers, by size, for as many reads as were ever under way at once."""

    def __init__(self, runtime: Runtime):
        self.runtime = runtime
        self._free: dict[int, list[Any]] = {}

    def start(self, buffer: GpuBuffer, nbytes: int) -> Callable[[], np.ndarray]:
        """Copies the buffer's first bytes after everything queued before; the result waits for them, once."""
        device, recorder = self.runtime.device, self.runtime.recorder
        size = max(SMALLEST, 1 << (nbytes - 1).bit_length())
        device.check_alive()
        staging = self._take(size)
        recorder.copy(buffer.handle, buffer.offset, staging, nbytes)
        submission = recorder.flush()
        return lambda: self._finish(staging, size, nbytes, submission)

    def _take(self, size: int) -> Any:
        if free := self._free.get(size):
            return free.pop()
        return self.runtime.buffers.create_staging(size)

    def _finish(self, staging: Any, size: int, nbytes: int, submission: int | None) -> np.ndarray:
        """A staging buffer whose map fails is not used again."""
        with self.runtime.lock:
            device = self.runtime.device
            device.check_alive()
            if submission is not None:
                native.wait_for_submission(device.handle, submission)
            data = self.runtime.buffers.take(staging, nbytes)
            self._free.setdefault(size, []).append(staging)
            return data

    def close(self) -> None:
        self._free.clear()
