"""Which format each tensor gets under a name such as Q4_K_M: the choices of llama.cpp's quantiser, as tables.

A mix has a default format, and rules that raise some tensors; the first rule that fits a tensor wins. The output (or
the embedding, where it serves as output) goes to Q6_K in every quantised mix but Q8_0; rows that are not whole blocks
fall back to a format with smaller blocks; one-dimensional tensors stay F32. Any other format name means that every
matrix has that format ("pure"). Leaves out: importance matrices, experts, and the exceptions for falcon and 70B models.

Source: llama.cpp's llama-quant.cpp, whose results the tests compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from wgpu_infer.errors import UnsupportedError
from wgpu_infer.formats.quants import FORMATS, get_format


class Place(NamedTuple):
    """Where a tensor sits: its layer, the number of layers, and query heads per key/value head."""

    layer: int
    layers: int
    group: int


Condition = Callable[[Place], bool]


class Rule(NamedTuple):
    part: str  # a part of the tensor's name
    applies: Condition
    format: str


class Mix(NamedTuple):
    file_type: int  # llama.cpp's number for general.file_type
    default: str
    rules: tuple[Rule, ...] = ()


def _always(place: Place) -> bool:
    return True


def _is_wide_group(place: Place) -> bool:
    return place.group >= 4


def _is_sensitive(place: Place) -> bool:
    """The first and the last eighth of the layers, and every third between."""
    eighth = place.layers // 8
    return place.layer < eighth or place.layer >= 7 * place.layers // 8 or (place.layer - eighth) % 3 == 2


def _is_among_first(count: int) -> Condition:
    return lambda place: place.layer < count


def _is_in_first(part: int) -> Condition:
    """The first 1/part of the layers."""
    return lambda place: place.layer < place.layers // part


_MORE_BITS = (Rule("attn_v", _is_sensitive, "Q6_K"), Rule("ffn_down", _is_sensitive, "Q6_K"))
_IQ4 = (Rule("attn_v", _is_wide_group, "Q5_K"), Rule("ffn_down", _is_in_first(8), "Q5_K"))
_Q2_K = (
    Rule("attn_v", _is_wide_group, "Q4_K"),
    Rule("attn_v", _always, "Q3_K"),
    Rule("ffn_down", _always, "Q3_K"),
    Rule("attn_output", _always, "Q3_K"),
)
_Q3_K_M = (
    Rule("attn_v", _is_among_first(2), "Q5_K"),
    Rule("attn_v", _always, "Q4_K"),
    Rule("ffn_down", _is_in_first(16), "Q5_K"),
    Rule("ffn_down", _always, "Q4_K"),
    Rule("attn_output", _always, "Q4_K"),
)
_Q3_K_L = tuple(Rule(part, _always, "Q5_K") for part in ("attn_v", "ffn_down", "attn_output"))
_Q4_K_S = (Rule("attn_v", _is_among_first(4), "Q5_K"), Rule("ffn_down", _is_in_first(8), "Q5_K"))

MIXES: dict[str, Mix] = {
    "F32": Mix(0, "F32"),
    "F16": Mix(1, "F16"),
    "BF16": Mix(32, "BF16"),
    "Q4_0": Mix(2, "Q4_0"),
    "Q4_1": Mix(3, "Q4_1"),
    "Q5_0": Mix(8, "Q5_0"),
    "Q5_1": Mix(9, "Q5_1"),
    "Q8_0": Mix(7, "Q8_0"),
    "Q2_K": Mix(10, "Q2_K", _Q2_K),
    "Q3_K_S": Mix(11, "Q3_K"),
    "Q3_K_M": Mix(12, "Q3_K", _Q3_K_M),
    "Q3_K_L": Mix(13, "Q3_K", _Q3_K_L),
    "Q4_K_S": Mix(14, "Q4_K", _Q4_K_S),
    "Q4_K_M": Mix(15, "Q4_K", _MORE_BITS),
    "Q5_K_S": Mix(16, "Q5_K"),
    "Q5_K_M": Mix(17, "Q5_K", _MORE_BITS),
    "Q6_K": Mix(18, "Q6_K"),
    "IQ4_NL": Mix(25, "IQ4_NL", _IQ4),
    "IQ4_XS": Mix(30, "IQ4_XS", _IQ4),
}
# Formats that are no mix's name: every matrix in this one format. The number is that of the nearest mix.
PURE: dict[str, Mix] = {
    "Q3_K": Mix(11, "Q3_K"),
    "Q4_K": Mix(14, "Q4_K"),
    "Q5_K": Mix(16, "Q5_K"),
    "MXFP4": Mix(38, "MXFP4"),
}
FALLBACKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "IQ4_XS": "IQ4_NL"}


def get_mix(name: str) -> Mix:
    """The row of a mix or pure format; raises UnsupportedError for a name that is neither."""
    rows = MIXES | PURE
    if name not in rows:
        raise UnsupportedError(f"no mix or format is called {name}; known: {', '.join(rows)}")
    return rows[name]


def choose_formats(name: str, tensors: Mapping[str, tuple[int, ...]], group: int) -> dict[str, str]:
    """Format of every tensor under a mix: tensors {name: (rows, columns)} -> {name: format name}.

    `group` is the number of query heads per key/value head. A model without `output.weight` counts as tied.
    """
    mix = get_mix(name)
    layers = 1 + max((int(each.split(".")[1]) for each in tensors if each.startswith("blk.")), default=0)
    output = "output.weight" if "output.weight" in tensors else "token_embd.weight"
    formats = {}
    for tensor, dims in tensors.items():
        if len(dims) < 2:
            formats[tensor] = "F32"
            continue
        chosen = mix.default
        if name in MIXES and FORMATS[chosen].block_size > 1:
            chosen = _output_format(chosen) if tensor == output else _raise_bits(mix, tensor, layers, group)
        formats[tensor] = _fit_blocks(chosen, dims[-1])
    return formats


def _output_format(default: str) -> str:
    return "Q8_0" if default == "Q8_0" else "Q6_K"


def _raise_bits(mix: Mix, tensor: str, layers: int, group: int) -> str:
    if not tensor.startswith("blk."):
        return mix.default
    place = Place(int(tensor.split(".")[1]), layers, group)
    fitting = (rule.format for rule in mix.rules if rule.part in tensor and rule.applies(place))
    return next(fitting, mix.default)


def _fit_blocks(chosen: str, columns: int) -> str:
    """The format itself, or the one that replaces it where rows of `columns` are not whole blocks."""
    for candidate in (chosen, FALLBACKS.get(chosen, chosen)):
        if columns % get_format(candidate).block_size == 0:
            return candidate
    return "F16"
