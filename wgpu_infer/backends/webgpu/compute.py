"""`wi.Device`: your own shader on your own data.

    device = wi.Device()
    x, y = device.buffer(np.arange(8, dtype=np.float32)), device.buffer(np.ones(8, np.float32))
    saxpy = device.kernel('''
        struct Params { a: f32 }
        var<immediate> params: Params;
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < arrayLength(&y) { y[id.x] += params.a * x[id.x]; }
        }''')
    saxpy(x, y, workgroups=1, a=2.0)
    y.numpy()

Buffers are bound in order of their binding numbers. Kernels run in the order they are called; `numpy()` waits for them.
These shaders keep wgpu's run-time checks, so an index out of bounds cannot touch other memory.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np

from wgpu_infer.backends.webgpu import selftest, wgsl
from wgpu_infer.backends.webgpu.device import GpuDevice
from wgpu_infer.backends.webgpu.resources import GpuBuffer
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.contracts.contract import MAX_GROUPS, PARAMS_BYTES
from wgpu_infer.errors import ParameterError

DTYPES = ("float32", "int32", "uint32")


class Device:
    """An opened WebGPU device; the best adapter, or the one whose name contains `adapter`.

    Raises:
        DeviceError: where there is no such adapter.
    """

    def __init__(self, adapter: str | None = None):
        self.runtime = Runtime(GpuDevice(adapter))
        selftest.run(self.runtime)

    def buffer(self, array: Any) -> Buffer:
        """A copy of a numpy array (float32, int32 or uint32) on the device."""
        values = np.ascontiguousarray(array)
        if values.dtype.name not in DTYPES or not values.size:
            raise ParameterError(
                f"a buffer holds at least one {', '.join(DTYPES)} value, not {values.size} of {values.dtype}"
            )
        with self.runtime.lock:
            payload = self.runtime.create(values.nbytes)
            self.runtime.buffers.write(payload, values)
        return Buffer(self.runtime, payload, values.shape, values.dtype)

    def kernel(self, code: str, entry: str = "main", workgroups: Any = None) -> Kernel:
        """Compiles WGSL. `workgroups` (x, or up to three numbers) is the default of its calls.

        Raises:
            DeviceError: with naga's message and the line where the code is not valid.
            UnsupportedError: where it declares more than storage buffers and scalar immediates.
        """
        return Kernel(self.runtime, code, entry, workgroups)

    def close(self) -> None:
        self.runtime.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, _t: type | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Device({self.runtime.device.info.summary()})"


class Buffer:
    """An array on a device."""

    def __init__(self, runtime: Runtime, payload: GpuBuffer, shape: tuple[int, ...], dtype: np.dtype):
        self.runtime, self.payload, self.shape, self.dtype = runtime, payload, shape, dtype

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def numpy(self) -> np.ndarray:
        """A fresh array of the values, after the kernels called before."""
        with self.runtime.lock:
            return self.runtime.buffers.read(self.payload, self.nbytes).view(self.dtype).reshape(self.shape)

    def write(self, array: Any) -> None:
        """Replaces all values, after the kernels called before."""
        values = np.ascontiguousarray(array, self.dtype)
        if values.shape != self.shape:
            raise ParameterError(f"the buffer has shape {self.shape}, the array {values.shape}")
        with self.runtime.lock:
            self.runtime.buffers.write(self.payload, values)

    def __repr__(self) -> str:
        return f"Buffer(shape={self.shape}, dtype={self.dtype})"


class Kernel:
    """A compiled shader: `kernel(*buffers, workgroups=(x, y, z), **immediates)`."""

    def __init__(self, runtime: Runtime, code: str, entry: str, workgroups: Any):
        self.runtime, self.workgroups = runtime, workgroups
        self.bindings = wgsl.bindings(code)
        self.immediates = wgsl.immediates(code)
        if self.immediates is not None and self.immediates.itemsize > PARAMS_BYTES:
            raise ParameterError(
                f"immediates take {self.immediates.itemsize} bytes, at most {PARAMS_BYTES} are allowed"
            )
        self._accesses = tuple(b.access for b in self.bindings)
        with runtime.lock:
            self._pipeline = runtime.pipelines.compile(code, self._accesses, "kernel", entry, trusted=False)

    def __call__(self, *buffers: Buffer, workgroups: Any = None, **immediates: float) -> None:
        """Queues one run. ParameterError for a wrong number of buffers, a wrong name or no number of workgroups."""
        names = [b.name for b in self.bindings]
        if len(buffers) != len(names):
            raise ParameterError(
                f"the kernel binds {len(names)} buffers ({', '.join(names)}), {len(buffers)} were given"
            )
        payloads = [buffer.payload for buffer in buffers]
        self._check_aliases(payloads)
        groups = self._groups(self.workgroups if workgroups is None else workgroups)
        with self.runtime.lock:
            packed = self._pack(immediates)
            dispatch = self.runtime.prepare("kernel", self._pipeline, self._accesses, payloads, packed, groups)
            self.runtime.recorder.dispatch(dispatch)

    def _groups(self, workgroups: Any) -> tuple[int, ...]:
        if workgroups is None:
            raise ParameterError("say how many workgroups to run: kernel(..., workgroups=(x, y, z))")
        groups = tuple(int(n) for n in np.atleast_1d(workgroups))
        if not 1 <= len(groups) <= 3 or not all(1 <= n <= MAX_GROUPS for n in groups):
            raise ParameterError(f"workgroups must be one to three numbers from 1 to {MAX_GROUPS}, not {workgroups}")
        return groups

    def _check_aliases(self, payloads: list[GpuBuffer]) -> None:
        """WebGPU forbids a buffer that is written to be bound a second time."""
        for written in (b for b in self.bindings if b.access == "read_write"):
            for other in self.bindings:
                if other is not written and payloads[other.number] is payloads[written.number]:
                    raise ParameterError(f"one buffer is bound to {other.name} and {written.name}, which is written")

    def _pack(self, values: dict[str, float]) -> bytes:
        names = self.immediates.names or () if self.immediates is not None else ()
        if set(values) != set(names):
            raise ParameterError(f"the kernel takes the immediates {tuple(names)}, {tuple(values)} were given")
        return np.array([tuple(values[name] for name in names)], self.immediates).tobytes() if names else b""
