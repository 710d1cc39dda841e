"""What shaders may use on a device. Variants are chosen by this alone, so any choice can be tested without that GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from wgpu_infer.backends.webgpu.adapters import AdapterInfo
from wgpu_infer.backends.webgpu.resources import TEXEL, WIDTH
from wgpu_infer.backends.webgpu.vendors import VENDORS
from wgpu_infer.errors import ParameterError

LIMITS = {  # fields that the device itself is opened with, so that wgpu refuses whatever is over them
    "max_storage_buffers": "max-storage-buffers-per-shader-stage",
    "max_workgroup": "max-compute-invocations-per-workgroup",
    "workgroup_bytes": "max-compute-workgroup-storage-size",
}
OFF = {"subgroups": "WGPU_INFER_NO_SUBGROUPS", "f16": "WGPU_INFER_NO_F16", "packed_dot": "WGPU_INFER_NO_PACKED_DOT"}
PACKED_DOT_APIS = ("Vulkan", "D3D12")  # on Metal it is put together from shifts, slower than float32
WEBGPU_MINIMUM = {"max_storage_buffers": 8, "max_workgroup": 256, "workgroup_bytes": 16384}


@dataclass(frozen=True)
class Caps:
    """Features that are present and wanted, and limits. `packed_dot` also says whether activations become int8.

    kind: the adapter's, one of KIND_ORDER. textures: weights lie in textures, which software adapters read 16 bytes at
    a time, where they take words of buffers one by one. max_binding: bytes of a weight that are bound at once.
    max_workgroup: invocations. workgroup_bytes: of workgroup memory. vendor: whose defaults are used, one of VENDORS.
    subgroup_min, subgroup_max: invocations, 0 where the adapter does not say. Those of software adapters, all
    alike, are measured when one is opened.
    """

    kind: str = "other"
    subgroups: bool = False
    f16: bool = False
    packed_dot: bool = False
    textures: bool = False
    max_binding: int = 128 << 20
    max_storage_buffers: int = WEBGPU_MINIMUM["max_storage_buffers"]
    max_workgroup: int = WEBGPU_MINIMUM["max_workgroup"]
    workgroup_bytes: int = WEBGPU_MINIMUM["workgroup_bytes"]
    vendor: str = "other"
    subgroup_min: int = 0
    subgroup_max: int = 0


def env_flag(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def caps_of(info: AdapterInfo, limits: Mapping[str, int], lowered: Mapping[str, Any]) -> Caps:
    """The adapter's capabilities, less what the environment turns off, with `lowered` fields in place of both.

    `lowered` can ask for less of anything, for packed dots and textures anywhere (every adapter has them), and for the
    variants of another kind or vendor of adapter.
    """
    check_names(lowered)
    has = {
        "subgroups": "subgroup" in info.features,
        "f16": "shader-f16" in info.features,
        "packed_dot": True,
        "textures": True,
    }
    wanted = {name: not env_flag(variable) for name, variable in OFF.items()}
    wanted["packed_dot"] &= info.api in PACKED_DOT_APIS
    kind = lowered.get("kind", info.kind)
    wanted["textures"] = kind == "software"
    values: dict[str, Any] = {name: has[name] and bool(lowered.get(name, wanted[name])) for name in has}
    binding = min(limits["max-storage-buffer-binding-size"], limits["max-buffer-size"])
    sizes = {name: limits[limit] for name, limit in LIMITS.items()} | {"max_binding": binding}
    values |= {name: min(size, lowered.get(name, size)) for name, size in sizes.items()}
    if values["textures"]:
        values["max_binding"] = min(values["max_binding"], limits["max-texture-dimension-2d"] * WIDTH * TEXEL)
    values["max_binding"] &= ~15
    told = dict(zip(("vendor", "subgroup_min", "subgroup_max"), (info.vendor, *info.subgroups), strict=True))
    return Caps(kind, **values, **{name: lowered.get(name, value) for name, value in told.items()})


def check_names(lowered: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(Caps)]
    if unknown := set(lowered) - set(known):
        raise ParameterError(f"{', '.join(sorted(unknown))} cannot be lowered; allowed: {', '.join(known)}")
    if (vendor := lowered.get("vendor", "other")) not in VENDORS:
        raise ParameterError(f"vendor={vendor!r:.60} is not known; allowed: {', '.join(VENDORS)}")


def required_limits(caps: Caps) -> dict[str, int]:
    """What to ask wgpu for; all other limits are the adapter's."""
    return {limit: getattr(caps, name) for name, limit in LIMITS.items()}
