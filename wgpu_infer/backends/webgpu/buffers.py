"""Device buffers: made zeroed, filled in bounded chunks, read through one staging buffer that is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from wgpu_infer.backends.memory import Ledger
from wgpu_infer.backends.webgpu import native
from wgpu_infer.backends.webgpu.adapters import open_wgpu
from wgpu_infer.backends.webgpu.device import GpuDevice
from wgpu_infer.backends.webgpu.recorder import Recorder
from wgpu_infer.backends.webgpu.resources import WIDTH, GpuBuffer, Resource, texture_rows
from wgpu_infer.errors import DeviceError

CHUNK = 8 << 20  # bytes per write or read; wgpu keeps a copy of each write until it is submitted
UNWAITED = 2 * CHUNK  # bytes written before waiting for the device, which frees those copies
MAP_SECONDS = 600.0  # longest wait for the device's work
PROBE_SECONDS = 2.0


class Buffers:
    """Creates, writes and reads the buffers of one device. `created` counts what was made of it."""

    def __init__(self, device: GpuDevice, recorder: Recorder, ledger: Ledger):
        self.device, self.recorder, self.ledger = device, recorder, ledger
        self.created = 0
        self._unsubmitted = self._unwaited = 0
        self._staging: Any = None

    def create(self, size: int, label: str = "") -> Any:
        """wgpu's buffer, zeroed. OutOfMemoryError where the device has no room."""
        usage = open_wgpu().BufferUsage
        return self._create(size, label, usage.STORAGE | usage.COPY_SRC | usage.COPY_DST)

    def _create(self, size: int, label: str, usage: Any) -> Any:
        with self._allocating(size, label):
            return self.device.handle.create_buffer(size=size, usage=usage, label=label)

    def create_texture(self, size: int, label: str = "") -> Any:
        """wgpu's texture of at least `size` bytes, zeroed, to be read by shaders. Errors as of `create`."""
        usage = open_wgpu().TextureUsage
        with self._allocating(size, label):
            return self.device.handle.create_texture(
                size=(WIDTH, texture_rows(size), 1),
                format="rgba32uint",
                usage=usage.STORAGE_BINDING | usage.COPY_DST,
                label=label,
            )

    @contextmanager
    def _allocating(self, size: int, label: str) -> Iterator[None]:
        self.device.check_alive()
        with self.device.errors(f"allocating {size} bytes{f' for {label}' if label else ''}"):
            yield
        self.created += 1

    def write(self, buffer: Resource, data: np.ndarray, offset: int = 0) -> None:
        """Contiguous data of 4-byte items to a byte offset (a texture's: of 16), after everything queued before."""
        raw = data.reshape(-1).view(np.uint8)
        if offset + raw.size > buffer.size:
            raise ValueError(f"{raw.size} bytes at {offset} do not fit a buffer of {buffer.size}")
        self.device.check_alive()
        self.recorder.flush()
        for start in range(0, raw.size, CHUNK):
            part = raw[start : start + CHUNK]
            with self.device.errors(f"writing {part.size} bytes"):
                buffer.write(self.device.handle.queue, part, offset + start)
            self._account(part.size)

    def _account(self, written: int) -> None:
        self._unsubmitted += written
        self._unwaited += written
        if self._unsubmitted >= CHUNK:
            self.recorder.submit_nothing()
            self._unsubmitted = 0
        if self._unwaited >= UNWAITED:
            self.wait_idle()

    def read(self, buffer: GpuBuffer, nbytes: int) -> np.ndarray:
        """The buffer's first bytes, after everything queued before."""
        out = np.empty(nbytes, np.uint8)
        for start in range(0, nbytes, CHUNK):
            size = min(CHUNK, nbytes - start)
            staging = self._reserve_staging(size)
            self.recorder.copy(buffer.handle, buffer.offset + start, staging, size)
            self.recorder.flush()
            out[start : start + size] = self._take(staging, size)
        return out

    def wait_idle(self) -> None:
        """Returns when the device has done everything submitted."""
        staging = self._reserve_staging(16)
        self.recorder.flush()
        self.recorder.submit_nothing()
        self._take(staging, 16)
        self._unsubmitted = self._unwaited = 0

    def _reserve_staging(self, nbytes: int) -> Any:
        self.device.check_alive()
        if self._staging is None or self._staging.size < nbytes:
            self._staging = self.create_staging(max(1 << 16, 1 << math.ceil(math.log2(nbytes))))
        return self._staging

    def create_staging(self, size: int) -> Any:
        """wgpu's buffer that can be copied to and mapped."""
        usage = open_wgpu().BufferUsage
        handle = self._create(size, "reading back", usage.MAP_READ | usage.COPY_DST)
        self.ledger.hold("staging", size, handle)
        return handle

    def _take(self, staging: Any, nbytes: int) -> np.ndarray:
        """A failed map leaves the staging buffer unusable, so it is kept only after success."""
        self._staging = None
        data = self.take(staging, nbytes)
        self._staging = staging
        return data

    def take(self, staging: Any, nbytes: int) -> np.ndarray:
        """Maps a staging buffer, once what is copied into it is there, and copies its first bytes."""
        size = -(-nbytes // 4) * 4
        with self.device.errors("reading back"):
            promise = native.map_for_reading(staging, size)
            self._await(promise)
            promise.sync_wait()
            data = np.frombuffer(staging.read_mapped(0, size, copy=False), np.uint8)[:nbytes].copy()
            staging.unmap()
        return data

    def _await(self, promise: Any) -> None:
        """A pending map never settles on a lost device, so the wait looks at the device from time to time."""
        end = time.monotonic() + MAP_SECONDS
        while not native.wait(promise, PROBE_SECONDS):
            self.device.check_alive()
            if time.monotonic() > end:
                raise DeviceError(f"{self.device.info.name} did not finish its work within {MAP_SECONDS:.0f} s")

    def close(self) -> None:
        self._staging = None
