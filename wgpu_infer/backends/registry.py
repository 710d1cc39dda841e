"""Backends by the name --device gives them. Each is imported when first asked for: wgpu and numba are heavy."""

from __future__ import annotations

from wgpu_infer.backends.base import Backend
from wgpu_infer.errors import ParameterError

NAMES = ("webgpu", "cpu", "reference")


def open_backend(name: str, threads: int | None = None) -> Backend:
    """A fresh backend. DeviceError where the device is not there."""
    if name == "webgpu":
        from wgpu_infer.backends.webgpu.backend import WebGPUBackend

        return WebGPUBackend()
    if name == "cpu":
        from wgpu_infer.backends.cpu import CPUBackend

        return CPUBackend(threads=threads)
    if name == "reference":
        from wgpu_infer.backends.reference import ReferenceBackend

        return ReferenceBackend()
    raise ParameterError(f"device {name!r} is not known; allowed: {', '.join(NAMES)}")
