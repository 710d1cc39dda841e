"""Finds the WGSL files and assembles them into modules by appending; there is no template language.

A module is the op's file as it is (so naga's line numbers are the file's own), then the files its first comment
imports (`// import: reduce, quant`), theirs in turn, then one `const NAME = VALUEu;` line per constant. Some import
names stand for a choice: `quant` is the file of the weight's format, `kv` and `kv_store` those of the cache's type,
`reduce`, `codes`, `dot_small`, `span`, `x_span` and `staged` depend on the device, `x_rows` on the number of columns.
Everything here is a pure function of names, testable without a GPU.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wgpu_infer.backends.webgpu.caps import Caps
from wgpu_infer.backends.webgpu.variants import Variant
from wgpu_infer.contracts.contract import Op
from wgpu_infer.errors import UnsupportedError

SPANS = ("Q6_K",)  # formats whose eight blocks share words
IMPORT_LINE = re.compile(r"\A// import: ([\w, ]+)\n")


@dataclass(frozen=True)
class Module:
    """What a module is made of; it is the key of the pipeline cache."""

    name: str
    imports: tuple[str, ...]
    constants: tuple[tuple[str, int], ...]


def find_root(package: Path) -> Path:
    """The checkout's shaders where the package lies in one (an installed copy may be stale), else the wheel's."""
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "shaders").is_dir():
        return checkout / "shaders"
    return package / "shaders"


@cache
def shader_root() -> Path:
    return find_root(Path(__file__).resolve().parents[2])


def path_of(name: str, shared: bool = False) -> Path:
    return shader_root() / "shared" / f"{name}.wgsl" if shared else shader_root() / f"{name}.wgsl"


@cache
def source_of(name: str, shared: bool = False) -> str:
    """The file's text; UnsupportedError where there is no such file."""
    path = path_of(name, shared)
    if not path.is_file():
        raise UnsupportedError(f"there is no shader shaders/{path.relative_to(shader_root()).as_posix()}")
    return path.read_text(encoding="utf-8")


def imports_of(source: str) -> tuple[str, ...]:
    """The names in the file's first comment, in order."""
    found = IMPORT_LINE.match(source)
    return tuple(name.strip() for name in found[1].split(",")) if found else ()


def file_of(name: str, variant: Variant, fmt: str | None, caps: Caps) -> str:
    """The shared file that an import name stands for. `fmt` is the weight's format or the cache's type."""
    if name == "reduce":
        return "reduce_subgroup" if caps.subgroups else "reduce"
    if name == "codes":
        return "codes_texture" if caps.textures else "codes"
    if name == "span":
        wide = {("LANES", 1), ("TOKENS", 1), ("SUPER", 1)} <= set(variant.constants)  # else too few, or too much code
        return "span_one" if not wide else f"span_{fmt.lower()}" if fmt in SPANS else "span_eight"
    if name == "x_span":
        return "x_span_shared" if ("LANES", 1) in variant.constants and caps.subgroup_min >= 8 else "x_span_own"
    if name == "dot_small":
        return "dot_pairs" if caps.kind == "software" else "dot8"
    if name == "staged":
        return "staged_f16" if caps.f16 and fmt == "F16" else "staged_f32"
    if name == "x_rows":
        return "x_rows_odd" if ("ODD", 1) in variant.constants else "x_rows"
    if name in ("quant", "kv", "kv_store"):
        return f"{name}_{(fmt or 'none').lower()}"
    return name


def module_of(variant: Variant, fmt: str | None, caps: Caps) -> Module:
    """The variant's module for a format and a device's capabilities. UnsupportedError where a file is missing."""
    files: list[str] = []
    queue = list(imports_of(source_of(variant.shader)))
    while queue:
        name = file_of(queue.pop(0), variant, fmt, caps)
        if name not in files:
            files.append(name)
            queue += imports_of(source_of(name, shared=True))
    return Module(variant.shader, tuple(files), variant.constants)


def assemble(module: Module) -> str:
    """The module's WGSL."""
    enable = "enable f16; " if "staged_f16" in module.imports else ""  # in the first line, to keep lines' numbers
    parts = [source_of(module.name), *(source_of(name, shared=True) for name in module.imports)]
    return enable + "\n".join(parts + [f"const {name} = {value}u;" for name, value in module.constants]) + "\n"


def missing_file(op: Op, fmt: str | None) -> str | None:
    """Which file the op lacks (for a format), or None."""
    try:
        if fmt is None and {"quant", "kv", "kv_store"} & set(imports_of(source_of(op.name))):
            return None
        module_of(Variant(op.name, ()), fmt, Caps())
    except UnsupportedError as error:
        return str(error)
    return None
