"""Which instructions the kernels are compiled for: AVX-512 VNNI, AVX-VNNI, AVX2, or plain LLVM vectors.

A process uses one variant. `WGPU_INFER_CPU` names it; else the one measured fastest on this machine is taken (choose.py
measures once and keeps the answer). It must be settled before numba compiles anything, since numba's target is set up
once: cpu_fallback/__init__.py does so.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import llvmlite.binding as llvm
import numba

from cpu_fallback import choose
from cpu_fallback.folders import base_folder

config: Any = numba.config  # its attributes come from the environment
ENVIRONMENT = "WGPU_INFER_CPU"


@dataclass(frozen=True)
class Variant:
    """needs: sets of LLVM features of which the CPU must have one, whole. target: numba's CPU name and features for it;
    None leaves numba's own choice, the CPU as it is."""

    name: str
    needs: tuple[frozenset[str], ...]
    target: tuple[str, str] | None

    def is_possible(self, features: frozenset[str]) -> bool:
        return any(need <= features for need in self.needs)


def of(*features: str) -> frozenset[str]:
    return frozenset(features)


AVX2 = of("avx2", "fma", "f16c")
WIDE = of("avx512f", "avx512bw", "avx512vl", "avx512vnni")
VARIANTS = {
    v.name: v
    for v in (
        Variant("avx512vnni", (AVX2 | WIDE,), None),
        Variant("avxvnni", (AVX2 | {"avxvnni"}, AVX2 | WIDE), ("haswell", "+avxvnni")),
        Variant("avx2", (AVX2,), ("haswell", "")),
        Variant("generic", (of(),), ("x86-64", "") if platform.machine().lower() in ("x86_64", "amd64") else None),
    )
}
ENCODED_AS_AVX512 = ("haswell", "+avx512f,+avx512bw,+avx512vl,+avx512vnni,+prefer-256-bit")  # without AVX-VNNI itself


def host_features() -> frozenset[str]:
    try:
        return frozenset(name for name, has in llvm.get_host_cpu_features().items() if has)
    except RuntimeError:
        return frozenset()


def possible() -> list[str]:
    """The variants this CPU can run, the widest first."""
    features = host_features()
    return [name for name, variant in VARIANTS.items() if variant.is_possible(features)]


def forced() -> str | None:
    """The variant the environment asks for. ValueError for one that is unknown or not possible here."""
    name = os.environ.get(ENVIRONMENT)
    if not name:
        return None
    if name not in VARIANTS:
        raise ValueError(f"{ENVIRONMENT}={name!r} is not known; allowed: {', '.join(VARIANTS)}")
    if name not in possible():
        raise ValueError(f"{ENVIRONMENT}={name}: this CPU lacks the instructions; it can run {', '.join(possible())}")
    return name


def target(name: str) -> tuple[str, str] | None:
    """numba's CPU name and features for a variant."""
    if name == "avxvnni" and "avxvnni" not in host_features():
        return ENCODED_AS_AVX512
    return VARIANTS[name].target


def apply(name: str) -> None:
    """Sets numba's target, whatever the environment says of it; it counts as long as nothing has been compiled."""
    config.CPU_NAME, config.CPU_FEATURES = target(name) or (None, None)


def preferred() -> str:
    """The fastest variant for this CPU; `generic` is no candidate where there is another."""
    candidates = [name for name in possible() if name != "generic"] or ["generic"]
    versions = "-".join(name + metadata.version(name) for name in ("numba", "llvmlite"))
    folder = base_folder()
    if folder is None or config.DISABLE_JIT:
        return candidates[0]
    return choose.fastest(candidates, f"{host_name()}|{sorted(host_features())}|{versions}", folder)


def host_name() -> str:
    """LLVM's name for this machine's processor."""
    try:
        return str(llvm.get_host_cpu_name())
    except RuntimeError:
        return "unknown"


ACTIVE = forced() or preferred()
apply(ACTIVE)
