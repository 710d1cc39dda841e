"""The private interfaces of wgpu-py that we use, all in this file, each with its public substitute.

Shader modules without run-time checks: by default wgpu adds a counter to every loop and clamps every index, which costs
a GPU a multiple on tight loops. `wgpuDeviceCreateShaderModuleTrusted` leaves them out; wgpu-py does not wrap it. Our
shaders stay in bounds by themselves; the tests run them with and without the checks.
"""

from __future__ import annotations

import logging
import re
from typing import Any

log = logging.getLogger(__name__)


def quicken_types() -> None:
    """Makes cffi read the names of C types faster, which is most of the time that opening a device takes.

    For each new name it has pycparser read the names of all types first; only those in the text at hand matter. cffi
    holds its lock meanwhile. With another cffi than we know it stays as it is.
    """
    try:
        from wgpu.backends.wgpu_native._ffi import ffi

        parser = ffi._parser
        parse, names = parser._parse, parser._declarations
        known = callable(parse) and isinstance(names, dict) and "_parse" not in vars(parser)
    except (AttributeError, ImportError):
        return

    def parse_quickly(text: str) -> Any:
        words = set(re.findall(r"\w+", text))
        every = parser._declarations
        parser._declarations = {name: kind for name, kind in every.items() if name.removeprefix("typedef ") in words}
        try:
            return parse(text)
        finally:
            parser._declarations = every

    if known:
        parser._parse = parse_quickly


def create_trusted_module(device: Any, code: str) -> Any:
    """A GPUShaderModule without bounds checks and loop limits. Raises wgpu's own errors for WGSL that is not valid."""
    from wgpu.backends.wgpu_native import _api
    from wgpu.backends.wgpu_native._ffi import ffi, lib

    text = ffi.new("char[]", code.encode())
    source = ffi.new("WGPUShaderSourceWGSL *")
    source.chain.sType = lib.WGPUSType_ShaderSourceWGSL
    source.code.data, source.code.length = text, len(text) - 1
    descriptor = ffi.new("WGPUShaderModuleDescriptor *")
    descriptor.nextInChain = ffi.cast("WGPUChainedStruct *", source)
    handle = _api.libf.wgpuDeviceCreateShaderModuleTrusted(device._internal, descriptor, 0)
    return _api.GPUShaderModule("", handle, device)


def probe(device: Any) -> None:
    """Raises wgpu's error where the device is lost: asks for a layout of no bindings, which makes nothing new."""
    try:
        from wgpu.backends.wgpu_native import _api
        from wgpu.backends.wgpu_native._ffi import ffi, lib

        create, release = _api.libf.wgpuDeviceCreateBindGroupLayout, lib.wgpuBindGroupLayoutRelease
        handle = device._internal
        descriptor = ffi.new("WGPUBindGroupLayoutDescriptor *")
    except (AttributeError, ImportError, KeyError):
        device.create_bind_group_layout(entries=[])
        return
    release(create(handle, descriptor))


def timestamp_period(queue: Any) -> float:
    """Nanoseconds per tick of the queue's timestamps; 1, which most GPUs have, where it cannot be asked for."""
    try:
        from wgpu.backends.wgpu_native._ffi import lib

        return float(lib.wgpuQueueGetTimestampPeriod(queue._internal))
    except (AttributeError, ImportError):
        log.warning("the period of timestamps is not known; taking 1 ns")
        return 1.0


def submit(queue: Any, commands: list[Any]) -> int | None:
    """Submits command buffers. The submission's number, for `wait_for_submission`; None where it is not to be had."""
    try:
        from wgpu.backends.wgpu_native import _api
        from wgpu.backends.wgpu_native._ffi import ffi

        numbered = _api.libf.wgpuQueueSubmitForIndex
        handles = ffi.new("WGPUCommandBuffer []", [command._internal for command in commands])
    except (AttributeError, ImportError, TypeError):
        queue.submit(commands)
        return None
    return int(numbered(queue._internal, len(commands), handles))


def wait_for_submission(device: Any, number: int) -> None:
    """Returns when the device has done that submission and all before; later ones go on."""
    from wgpu.backends.wgpu_native import _api
    from wgpu.backends.wgpu_native._ffi import ffi

    _api.libf.wgpuDevicePoll(device._internal, True, ffi.new("WGPUSubmissionIndex *", number))


def map_for_reading(buffer: Any, size: int) -> Any:
    """Starts mapping a buffer whose copies are submitted, without wgpu-py's extra empty submit where possible."""
    try:
        return buffer.map_async("READ_NOSYNC", 0, size)
    except (ValueError, KeyError, TypeError):
        return buffer.map_async("READ", 0, size)


def wait(promise: Any, seconds: float) -> bool:
    """Waits for a promise at most so long; True when it is settled. The public wait has no end on a lost device."""
    event = getattr(promise, "_thread_event", None)
    if event is None:
        promise.sync_wait()
        return True
    return bool(event.wait(seconds))
