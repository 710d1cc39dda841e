"""What a WGSL text declares: the storage bindings of group 0 and the struct of its immediates.

A reading of declarations, not a parser: naga judges the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from wgpu_infer.errors import UnsupportedError

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
ATTRIBUTE = re.compile(r"@(group|binding)\(\s*(\d+)\s*\)")
RESOURCE = re.compile(r"((?:@\w+\([^)]*\)\s*)+)var(?:<([^>]*)>)?\s+(\w+)\s*:\s*([^;]+);")
IMMEDIATE = re.compile(r"var<immediate>\s+\w+\s*:\s*(\w+)\s*;")
SCALARS = {"f32": "<f4", "u32": "<u4", "i32": "<i4"}


@dataclass(frozen=True)
class Binding:
    """`access` is read or read_write; `element` is the array's element type, or the whole type of a plain value."""

    number: int
    name: str
    access: str
    element: str


def strip_comments(source: str) -> str:
    return COMMENT.sub("", source)


def bindings(source: str) -> list[Binding]:
    """The storage bindings in order. UnsupportedError for other resources or groups, or numbers with gaps."""
    found = sorted((binding(*match) for match in RESOURCE.findall(strip_comments(source))), key=lambda b: b.number)
    numbers = [b.number for b in found]
    if numbers != list(range(len(found))):
        raise UnsupportedError(f"bindings must be numbered 0, 1, 2 … without gaps; these are {numbers}")
    return found


def binding(attributes: str, space: str, name: str, kind: str) -> Binding:
    numbers = {key: int(value) for key, value in ATTRIBUTE.findall(attributes)}
    space, _, access = (part.strip() for part in space.partition(","))
    if space != "storage" or numbers.get("group") != 0 or "binding" not in numbers:
        raise UnsupportedError(
            f"{name}: only @group(0) storage buffers can be bound, not {space or 'handle'} variables"
        )
    array = re.fullmatch(r"array<\s*([\w<>\s]+?)\s*(,[^<>]*)?>", kind.strip())
    return Binding(numbers["binding"], name, access or "read", (array[1] if array else kind).strip())


def immediates(source: str) -> np.dtype | None:
    """The struct of `var<immediate>` as a numpy dtype, or None where there is none. Fields are f32, u32 or i32."""
    text = strip_comments(source)
    found = IMMEDIATE.search(text)
    if not found:
        return None
    body = re.search(rf"struct\s+{found[1]}\s*\{{([^}}]*)\}}", text)
    if not body:
        raise UnsupportedError(f"var<immediate> must be a struct of this module, not {found[1]}")
    fields = [tuple(part.strip() for part in field.split(":")) for field in body[1].split(",") if field.strip()]
    if unknown := [kind for _, kind in fields if kind not in SCALARS]:
        raise UnsupportedError(f"immediates can hold {', '.join(SCALARS)}, not {', '.join(unknown)}")
    return np.dtype([(name, SCALARS[kind]) for name, kind in fields])
