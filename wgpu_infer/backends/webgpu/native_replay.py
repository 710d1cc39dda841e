"""Recorded dispatches replayed by compiled calls into wgpu-native: its C functions, by address, on wgpu-py's handles.

Like native.py this leans on private interfaces of wgpu-py (and on numba); the self-test at start compares a replay with
the public API, which is used instead where it fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wgpu_infer.backends.webgpu.recorder import Dispatch
from wgpu_infer.contracts.contract import PARAMS_BYTES

FUNCTIONS = (  # in the order of cpu_fallback/replay.py
    "wgpuDeviceCreateCommandEncoder",
    "wgpuCommandEncoderBeginComputePass",
    "wgpuComputePassEncoderSetPipeline",
    "wgpuComputePassEncoderSetBindGroup",
    "wgpuComputePassEncoderSetImmediates",
    "wgpuComputePassEncoderDispatchWorkgroups",
    "wgpuComputePassEncoderEnd",
    "wgpuComputePassEncoderRelease",
    "wgpuCommandEncoderFinish",
    "wgpuCommandEncoderRelease",
    "wgpuQueueSubmit",
    "wgpuCommandBufferRelease",
)


class Replay:
    """A list of submissions, each a list of dispatches, that can be issued again and again.

    It holds what its handles belong to. Raises wgpu's errors, before anything is submitted.
    """

    def __init__(self, device: Any, submissions: Sequence[Sequence[Dispatch]]):
        from wgpu.backends.wgpu_native import _api
        from wgpu.backends.wgpu_native._ffi import ffi, lib

        from cpu_fallback import replay

        def address(pointer: Any) -> int:
            return int(ffi.cast("uintptr_t", pointer))

        dispatches = [d for submission in submissions for d in submission]
        self._keep = (device, dispatches)
        self._functions = np.array([address(getattr(lib, name)) for name in FUNCTIONS], np.int64)
        self._device, self._queue = address(device._internal), address(device.queue._internal)
        self._immediates = np.stack([d.immediates for d in dispatches])  # (dispatches, PARAMS_BYTES)
        self._table = np.zeros((len(dispatches), 7), np.int64)
        for row, d, immediates in zip(self._table, dispatches, self._immediates, strict=True):
            handles = address(d.pipeline._internal), address(d.bind_group._internal)
            row[:6] = (*handles, *d.groups, immediates.ctypes.data)
        self._table[np.cumsum([len(s) for s in submissions]) - 1, replay.LAST] = 1
        self._commands = np.zeros(len(submissions), np.int64)
        self._encode = _api.libf._make_proxy_func("replaying", replay.encode)  # raises the errors of what it calls
        self._submit, self._drop = replay.submit, replay.drop

    def __call__(self) -> None:
        """Encodes all submissions, then submits them. A lost device shows when they are finished, so none is lost."""
        self.encode()
        self.submit()

    def encode(self) -> None:
        try:
            self._encode(self._functions, self._device, self._table, PARAMS_BYTES, self._commands)
        except BaseException:
            self._drop(self._functions, self._commands)
            raise

    def submit(self) -> None:
        self._submit(self._functions, self._queue, self._commands, self._commands.ctypes.data)
