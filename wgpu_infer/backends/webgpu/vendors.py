"""What each vendor's GPUs run until they are measured: sizes that suit their subgroups, registers and memory.

The numbers follow what llama.cpp's Vulkan and WebGPU backends and ONNX Runtime choose per vendor. All fit WebGPU's
minimum of 256 invocations and 16 KiB of workgroup memory. They are data for `variants`, and any vendor's can be asked
for on any adapter.
"""

from __future__ import annotations

from dataclasses import dataclass

Tile = tuple[int, int, int]  # rows × tokens of a workgroup, and blocks of 32 columns that it stages at a time

LARGE: Tile = (64, 64, 2)
SMALL: Tile = (32, 32, 2)


@dataclass(frozen=True)
class Defaults:
    """lanes: invocations that share the rows of a product of few tokens, up to 1,024 columns and beyond. rows: those of
    its workgroup with int8 activations, in weights up to MANY_ROWS and beyond. long, short: tiles of prompts with int8
    activations. float_rows: of a prompt's tile without those. keys: invocations of a page in split attention.
    """

    lanes: tuple[int, int] = (32, 64)  # 32 invocations already take a block each of 1,024 columns
    rows: tuple[int, int] = (4, 4)
    long: Tile = LARGE
    short: Tile = SMALL
    float_rows: int = 64
    keys: int = 64


MANY_ROWS = 1 << 15  # an output layer's: enough to keep a GPU busy with fewer, larger workgroups
VENDORS: dict[str, Defaults] = {
    "nvidia": Defaults(rows=(4, 8)),
    "amd": Defaults(lanes=(64, 64), rows=(4, 8), short=(32, 32, 4)),  # subgroups of 32 or 64, better with more staged
    "intel": Defaults(
        lanes=(32, 32), long=(32, 32, 1), short=(32, 32, 1), float_rows=32, keys=32
    ),  # 8-32, few registers
    "apple": Defaults(long=SMALL, float_rows=32, keys=32),  # 32
    "qualcomm": Defaults(lanes=(64, 64), long=(32, 32, 1), short=(32, 32, 1), float_rows=32),  # 64 or 128
    "arm": Defaults(lanes=(32, 32), long=(32, 32, 1), short=(32, 32, 1), float_rows=32, keys=32),  # 16, no fast memory
    "other": Defaults(),
}
IDS = {
    0x10DE: "nvidia",
    0x1002: "amd",
    0x1022: "amd",
    0x8086: "intel",
    0x106B: "apple",
    0x5143: "qualcomm",
    0x13B5: "arm",
}
NAMES = {  # in the adapter's own words, where it gives no number
    "nvidia": ("nvidia", "geforce"),
    "amd": ("amd", "radeon"),
    "intel": ("intel",),
    "apple": ("apple",),
    "qualcomm": ("qualcomm", "adreno"),
    "arm": ("mali", "immortalis"),
}


def vendor_of(number: int, name: str) -> str:
    """One of VENDORS, by PCI's number of the vendor or by the adapter's name."""
    words = name.lower()
    named = (vendor for vendor, parts in NAMES.items() if any(part in words for part in parts))
    return IDS.get(number) or next(named, "other")
