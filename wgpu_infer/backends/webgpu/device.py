"""One opened adapter: its features and limits, its shader modules, and wgpu's errors as ours.

A submit on a lost device aborts the whole process, so `check_alive` comes before every one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from wgpu_infer.backends.webgpu import native
from wgpu_infer.backends.webgpu.adapters import AdapterInfo, find_adapter, open_wgpu
from wgpu_infer.backends.webgpu.caps import Caps, caps_of, env_flag, required_limits
from wgpu_infer.errors import DeviceError, OutOfMemoryError

log = logging.getLogger(__name__)

WANTED_FEATURES = ("immediates", "subgroup", "subgroup-barrier", "shader-f16", "timestamp-query")


class GpuDevice:
    """An opened device.

    Args:
        adapter: its number in `list_adapters`, or part of its name; default the environment's WGPU_ADAPTER_NAME, else
            the best one.
        lowered: fields of Caps that are to be less than the adapter's.
        checked: True keeps wgpu's run-time checks in our shaders (as does WGPU_INFER_CHECKED=1).

    Raises:
        DeviceError: where there is no such adapter, or it cannot be opened or lacks what every shader needs.
    """

    def __init__(self, adapter: str | None = None, checked: bool | None = None, lowered: Mapping[str, Any] = {}):
        self.info: AdapterInfo = find_adapter(adapter)
        self.features = tuple(f for f in WANTED_FEATURES if f in self.info.features)
        self.caps: Caps = caps_of(self.info, self.info.handle.limits, lowered)
        self.checked = env_flag("WGPU_INFER_CHECKED") if checked is None else checked
        with self.errors("opening the device"):
            self.handle: Any = self.info.handle.request_device_sync(
                required_features=list(self.features), required_limits=required_limits(self.caps)
            )
            self._no_bindings = self.handle.create_bind_group_layout(entries=[])  # kept: see native.probe
        self.limits: dict[str, int] = dict(self.handle.limits)
        self.lost: str | None = None

    @property
    def max_binding(self) -> int:
        """Bytes of one buffer; weights keep to caps.max_binding."""
        return min(self.limits["max-storage-buffer-binding-size"], self.limits["max-buffer-size"]) & ~15

    def create_module(self, code: str, trusted: bool = True) -> Any:
        """A shader module; `trusted` code goes without run-time checks unless the device is `checked`."""
        if trusted and not self.checked:
            try:
                return native.create_trusted_module(self.handle, code)
            except (AttributeError, TypeError, ImportError) as error:  # another wgpu-py than we know
                log.warning("unchecked shader modules are not available (%s); using checked ones", error)
                self.checked = True
        return self.handle.create_shader_module(code=code)

    def check_alive(self) -> None:
        """DeviceError where the device is lost or closed."""
        if self.lost is None:
            with self.errors("using the device"):
                native.probe(self.handle)
        if self.lost:
            raise DeviceError(self.lost)

    def close(self) -> None:
        self.lost = self.lost or "the WebGPU device was closed"
        self.handle = self._no_bindings = None

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Raises wgpu's errors as ours; `what` says what was being done."""
        try:
            yield
        except (open_wgpu().GPUError, RuntimeError) as error:
            if isinstance(error, DeviceError):
                raise
            typed = classify(str(error), f"{what} on {self.info.name}")
            if "is lost" in str(error):
                self.lost = str(typed)
            raise typed from error


def classify(message: str, what: str) -> DeviceError:
    """wgpu's message as our error. Too little memory arrives as a validation error and is told apart by its text."""
    lines = [
        line.rstrip() for line in message.splitlines() if line.strip() not in ("", "Validation Error", "Caused by:")
    ]
    is_source = any("┌─" in line for line in lines)  # naga points at the line of the shader
    reason = "\n".join(lines) if is_source else " ".join(line.strip() for line in lines)
    if "not enough memory" in message.lower() or "out of memory" in message.lower():
        return OutOfMemoryError(f"not enough device memory while {what}: {reason}")
    if "is lost" in message:
        return DeviceError(f"the WebGPU device was lost while {what}")
    return DeviceError(f"WebGPU refused {what}: {reason}")
