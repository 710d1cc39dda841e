"""Which adapters this machine has, and which of them is used."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from wgpu_infer.backends.webgpu import native
from wgpu_infer.backends.webgpu.vendors import vendor_of
from wgpu_infer.errors import DeviceError

log = logging.getLogger(__name__)

KINDS = {"DiscreteGPU": "discrete", "IntegratedGPU": "integrated", "CPU": "software"}  # anything else: "other"
KIND_ORDER = ("discrete", "integrated", "other", "software")
API_ORDER = ("Vulkan", "Metal", "D3D12")  # D3D12 compiles without 16-bit floats and packed dot products
ANY_SUBGROUPS = (4, 128)
NO_ADAPTER = "no WebGPU adapter was found; use --device cpu"


@dataclass(frozen=True)
class AdapterInfo:
    """An adapter in words. `kind` is one of KIND_ORDER, `api` what reaches it, `vendor` one of VENDORS, `subgroups` the
    least and most invocations of a subgroup, (0, 0) where it does not say."""

    name: str
    kind: str
    api: str
    driver: str
    features: frozenset[str]
    handle: Any = None
    vendor: str = "other"
    subgroups: tuple[int, int] = (0, 0)

    def summary(self) -> str:
        return f"{self.name} ({self.kind}, {self.api}{f', {self.driver}' if self.driver else ''})"

    @property
    def usable(self) -> bool:
        return "immediates" in self.features


@cache
def open_wgpu() -> Any:
    """The wgpu module with its instance set up: once a process, before the first adapter is asked for."""
    if "XDG_RUNTIME_DIR" not in os.environ and "MESA_VK_DEVICE_SELECT" not in os.environ:
        os.environ.setdefault("NODEVICE_SELECT", "1")  # Mesa's device-sorting layer complains on stderr there
    try:
        import wgpu
        from wgpu.backends.wgpu_native.extras import set_instance_extras
    except (ImportError, OSError) as error:
        raise DeviceError(f"wgpu cannot be loaded ({error}); use --device cpu") from error
    native.quicken_types()
    try:
        set_instance_extras(
            backends=["Vulkan", "Metal", "DX12"],
            flags=["DiscardHalLabels"],  # not the default: it validates indirect dispatches by dispatches of its own
            gles3_minor_version="Automatic0",
        )
    except RuntimeError:
        log.info("wgpu was in use already; its instance stays as it is")
    return wgpu


def list_adapters() -> list[AdapterInfo]:
    """All adapters, the best first."""
    try:
        found = open_wgpu().gpu.enumerate_adapters_sync()
    except RuntimeError as error:
        raise DeviceError(f"{NO_ADAPTER} (wgpu says: {error})") from error
    return sorted((describe(adapter) for adapter in found), key=rank)


def describe(adapter: Any) -> AdapterInfo:
    info = adapter.info
    return AdapterInfo(
        name=info["device"],
        kind=KINDS.get(info["adapter_type"], "other"),
        api=info["backend_type"],
        driver=info["description"],
        features=frozenset(adapter.features),
        handle=adapter,
        vendor=vendor_of(info.get("vendor_id", 0), info["device"]),
        subgroups=subgroups_of(info),
    )


def subgroups_of(info: Mapping[str, Any]) -> tuple[int, int]:
    """wgpu-py misspells their names; what WebGPU allows at all is what wgpu gives for an adapter that does not say."""
    least, most = (info.get(f"subgroup_{end}_size", info.get(f"stackgroup_{end}_size", 0)) for end in ("min", "max"))
    return (0, 0) if (least, most) == ANY_SUBGROUPS else (least, most)


def rank(adapter: AdapterInfo) -> tuple[int, int, int]:
    api = API_ORDER.index(adapter.api) if adapter.api in API_ORDER else len(API_ORDER)
    return int(not adapter.usable), KIND_ORDER.index(adapter.kind), api


def choose(adapters: Sequence[AdapterInfo], wanted: str | None = None) -> AdapterInfo:
    """The best adapter, the one that `wanted` numbers in the order of `list_adapters`, or the best of that name.

    Raises DeviceError where there is none that can be used.
    """
    if not adapters:
        raise DeviceError(NO_ADAPTER)
    matching = select(sorted(adapters, key=rank), wanted or "")
    if not matching:
        names = ", ".join(f"{i}: {a.name}" for i, a in enumerate(sorted(adapters, key=rank)))
        raise DeviceError(f"no WebGPU adapter is called {wanted!r}; there are: {names}")
    best = matching[0]
    if not best.usable:
        raise DeviceError(f"the adapter {best.summary()} lacks the feature 'immediates'; use --device cpu")
    return best


def select(adapters: list[AdapterInfo], wanted: str) -> list[AdapterInfo]:
    """Those that are meant: a number below their count is a place in the list, any other a word of a name (RTX 4090),
    all else part of one."""
    if wanted.isdecimal():
        if int(wanted) < len(adapters):
            return [adapters[int(wanted)]]
        return [a for a in adapters if re.search(rf"(?<![\w.]){wanted}(?![\w.])", a.name)]
    return [a for a in adapters if wanted.lower() in a.name.lower()]


def find_adapter(wanted: str | None = None, adapters: Sequence[AdapterInfo] | None = None) -> AdapterInfo:
    """The adapter that would be opened: `wanted`, else the environment's WGPU_ADAPTER_NAME, else the best one."""
    return choose(list_adapters() if adapters is None else adapters, wanted or os.environ.get("WGPU_ADAPTER_NAME"))
