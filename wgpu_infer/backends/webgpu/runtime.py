"""Everything that belongs to one opened device, and the lock that serialises its use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from wgpu_infer.backends.memory import Ledger, Memory
from wgpu_infer.backends.timing import Span
from wgpu_infer.backends.webgpu.arenas import Arenas
from wgpu_infer.backends.webgpu.buffers import Buffers
from wgpu_infer.backends.webgpu.device import GpuDevice
from wgpu_infer.backends.webgpu.pace import Pace
from wgpu_infer.backends.webgpu.pipelines import Accesses, Pipelines
from wgpu_infer.backends.webgpu.pool import Pool
from wgpu_infer.backends.webgpu.recorder import Dispatch, Recorder
from wgpu_infer.backends.webgpu.resources import TEXEL, WIDTH, GpuBuffer, GpuTexture, Resource, texture_rows
from wgpu_infer.contracts.contract import MAX_GROUPS, PARAMS_BYTES
from wgpu_infer.errors import DeviceError, OutOfMemoryError

if TYPE_CHECKING:
    from wgpu_infer.backends.timing import Rates
    from wgpu_infer.backends.webgpu.gpu_timer import GpuTimer


class Runtime:
    """Holds `lock` around every use; the methods here expect it to be held."""

    def __init__(self, device: GpuDevice):
        self.lock = threading.RLock()
        self.device = device
        self.pace = Pace(device.info.summary())
        self.recorder = Recorder(device, self.pace)
        self.ledger = Ledger()
        self.buffers = Buffers(device, self.recorder, self.ledger)
        self.pipelines = Pipelines(device)
        self.pool = Pool(self._allocate, self.recorder.clear, device.max_binding)
        self.arenas = Arenas(self._allocate_weights, device.limits["max-buffer-size"])
        self.timer: GpuTimer | None = None  # while a profile is made
        self.rates: Rates | None = None  # what the device reaches, once measured

    @contextmanager
    def span(self, what: str) -> Iterator[None]:
        """CPU time for the profile, if one is made."""
        start = time.perf_counter()
        yield
        if self.timer is not None:
            self.timer.timing.spans.append(Span(what, start, time.perf_counter() - start))

    def create(self, nbytes: int, label: str = "") -> GpuBuffer:
        """A zeroed buffer from the pool. OutOfMemoryError also where the device cannot bind so much at once."""
        return self.pool.lease(self._checked(nbytes, label), label)

    def create_pages(self, nbytes: int, label: str = "") -> GpuBuffer:
        """A zeroed buffer of its own for keys or values."""
        size = self._checked(nbytes, label)
        handle = self._allocate(size, label)
        self.ledger.hold("kv", size, handle)
        return GpuBuffer(handle, size)

    def create_weights(self, nbytes: int, label: str = "") -> Resource:
        """A range of an arena, or a texture of its own, zeroed as long as nothing is written."""
        if not self.device.caps.textures:
            return self.arenas.take(nbytes, label)
        handle = self._with_room(lambda: self.buffers.create_texture(nbytes, f"weights of {label}"))
        self.ledger.hold("weights", texture_rows(nbytes) * WIDTH * TEXEL, handle)
        return GpuTexture(handle, -(-nbytes // TEXEL) * TEXEL)

    def memory(self) -> Memory:
        pool, staging = self.pool, self.ledger.bytes("staging")
        rest = (pool.reserved + staging, pool.used + staging, pool.high_water + staging, self.buffers.created)
        return Memory(self.ledger.bytes("weights"), self.ledger.bytes("kv"), *rest)

    def _checked(self, nbytes: int, label: str) -> int:
        """The size of a buffer for nbytes, also for none."""
        self.device.check_alive()
        size = max(16, -(-nbytes // 16) * 16)
        if size > self.device.max_binding:
            raise OutOfMemoryError(
                f"{label or 'an array'} needs {size} bytes; {self.device.info.name} binds at most "
                f"{self.device.max_binding} at once"
            )
        return size

    def _allocate(self, size: int, label: str) -> Any:
        return self._with_room(lambda: self.buffers.create(size, label))

    def _with_room(self, create: Callable[[], Any]) -> Any:
        """What `create` makes. What is dropped is freed only after the device has been waited for."""
        self.pipelines.drop_dead()
        try:
            return create()
        except OutOfMemoryError:
            self.pool.trim()
            self.buffers.wait_idle()
            return create()

    def _allocate_weights(self, size: int, label: str) -> Any:
        handle = self._allocate(size, label)
        self.ledger.hold("weights", size, handle)
        return handle

    def prepare(
        self,
        op: str,
        pipeline: Any,
        accesses: Accesses,
        buffers: Sequence[Resource],
        immediates: bytes,
        groups: Sequence[int],
        **about: Any,
    ) -> Dispatch:
        """A dispatch to be queued. immediates: at most PARAMS_BYTES bytes; groups: up to three numbers of workgroups;
        about: what else Dispatch holds."""
        x, y, z = (*groups, 1, 1)[:3]
        if max(x, y, z) > MAX_GROUPS:
            raise DeviceError(f"{x} x {y} x {z} workgroups: at most {MAX_GROUPS} are allowed in each direction")
        block = np.zeros(PARAMS_BYTES, np.uint8)
        block[: len(immediates)] = np.frombuffer(immediates, np.uint8)
        group = self.pipelines.bind(accesses, buffers)
        return Dispatch(op, pipeline, group, block, (x, y, z), keep=tuple(buffers), **about)

    def close(self) -> None:
        """Finishes what is queued, then lets go. Buffers are dropped, not destroyed: work may be in flight."""
        with self.lock:
            if self.device.handle is None:
                return
            try:
                self.buffers.wait_idle()
            except DeviceError:  # lost: there is nothing to wait for
                self.recorder.drop()
            self.buffers.close()
            self.pool.trim()
            self.pipelines.close()
            self.device.close()
