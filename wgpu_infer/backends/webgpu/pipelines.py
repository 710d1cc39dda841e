"""Compute pipelines and bind groups, made once. Layouts depend on the bindings' accesses only and are shared."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from wgpu_infer.backends.webgpu.adapters import open_wgpu
from wgpu_infer.backends.webgpu.device import GpuDevice
from wgpu_infer.backends.webgpu.resources import Resource
from wgpu_infer.backends.webgpu.shader import Module, assemble
from wgpu_infer.contracts.contract import PARAMS_BYTES

Accesses = tuple[str, ...]  # one of KINDS per binding
KINDS = {
    "read": {"buffer": {"type": "read-only-storage"}},
    "read_write": {"buffer": {"type": "storage"}},
    "texture": {"storage_texture": {"access": "read-only", "format": "rgba32uint", "view_dimension": "2d"}},
}


class Pipelines:
    def __init__(self, device: GpuDevice):
        self.device = device
        self._layouts: dict[Accesses, tuple[Any, Any]] = {}
        self._pipelines: dict[Module, Any] = {}
        self._groups: dict[tuple[Accesses, tuple[int, ...]], Any] = {}
        self._groups_of: dict[int, set[tuple[Accesses, tuple[int, ...]]]] = {}
        self._dead: deque[int] = deque()  # serials of buffers that were dropped (finalizers may run anywhere)

    def __len__(self) -> int:
        return len(self._pipelines)

    def __contains__(self, module: Module) -> bool:
        return module in self._pipelines

    def pipeline(self, module: Module, accesses: Accesses) -> Any:
        if module not in self._pipelines:
            self._pipelines[module] = self.compile(assemble(module), accesses, module.name)
        return self._pipelines[module]

    def bind(self, accesses: Accesses, buffers: Sequence[Resource]) -> Any:
        """The bind group of these resources, made when first asked for and kept while they all live."""
        self.drop_dead()
        key = (accesses, tuple(buffer.serial for buffer in buffers))
        if key not in self._groups:
            layout, _ = self._layout(accesses)
            entries = [{"binding": i, "resource": buffer.binding()} for i, buffer in enumerate(buffers)]
            with self.device.errors("binding buffers"):
                self._groups[key] = self.device.handle.create_bind_group(layout=layout, entries=entries)
            for buffer in set(buffers):
                self._remember(buffer, key)
        return self._groups[key]

    def drop_dead(self) -> None:
        """Releases the bind groups of buffers that nobody holds; they would keep the memory."""
        while self._dead:
            for key in self._groups_of.pop(self._dead.popleft(), ()):
                self._groups.pop(key, None)
                for serial in key[1]:
                    self._groups_of.get(serial, set()).discard(key)

    def close(self) -> None:
        self._layouts.clear()
        self._pipelines.clear()
        self._groups.clear()
        self._groups_of.clear()

    def _remember(self, buffer: Resource, key: tuple[Accesses, tuple[int, ...]]) -> None:
        if buffer.serial not in self._groups_of:
            self._groups_of[buffer.serial] = set()
            weakref.finalize(buffer, self._dead.append, buffer.serial).atexit = False
        self._groups_of[buffer.serial].add(key)

    def _layout(self, accesses: Accesses) -> tuple[Any, Any]:
        """(bind group layout, pipeline layout)."""
        if accesses not in self._layouts:
            visibility = open_wgpu().ShaderStage.COMPUTE
            entries = [{"binding": i, "visibility": visibility, **KINDS[access]} for i, access in enumerate(accesses)]
            group = self.device.handle.create_bind_group_layout(entries=entries)
            layout = self.device.handle.create_pipeline_layout(bind_group_layouts=[group], immediate_size=PARAMS_BYTES)
            self._layouts[accesses] = (group, layout)
        return self._layouts[accesses]

    def compile(self, code: str, accesses: Accesses, name: str, entry: str = "main", trusted: bool = True) -> Any:
        with self.device.errors(f"compiling {name}"):
            return self.device.handle.create_compute_pipeline(
                layout=self._layout(accesses)[1],
                compute={"module": self.device.create_module(code, trusted), "entry_point": entry},
                label=name,
            )
