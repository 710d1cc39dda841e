"""Backends by the name --device gives them. Each is imported when first asked for: wgpu and numba are heavy."""

from __future__ import annotations

from wgpu_infer.backends.base import Backend
from wgpu_infer.errors import ParameterError

NAMES = ("webgpu", "cpu", "reference")


def open_backend(name: str, threads: int | None = None, adapter: str | None = None) -> Backend:
    """A fresh backend; `adapter` (its number or part of its name) is WebGPU's. DeviceError where it is not there."""
    if name == "webgpu":
        from wgpu_infer.backends.webgpu.backend import WebGPUBackend

        return WebGPUBackend(adapter)
    if name == "cpu":
        from wgpu_infer.backends.cpu import CPUBackend

        return CPUBackend(threads=threads)
    if name == "reference":
        from wgpu_infer.backends.reference import ReferenceBackend

        return ReferenceBackend()
    raise ParameterError(f"device {name!r} is not known; allowed: {', '.join(NAMES)}")


def software_adapter(adapter: str | None = None) -> str | None:
    """The adapter that `webgpu` would open, in words, if it is a software one; asks without opening it."""
    from wgpu_infer.backends.webgpu.adapters import find_adapter

    found = find_adapter(adapter)
    return found.summary() if found.kind == "software" else None
