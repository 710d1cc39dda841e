"""Writes a GGUF of a real model's shape with random weights, to measure speed and memory without a download.

    python tools/make_model.py SHAPE FORMAT OUT.gguf [--seed S]

Every key, tensor, format mix and token that llama.cpp expects is there; only the values are random, scaled so that
activations stay finite and logits have a deviation of about 2. Streams: memory stays far below 2 GB for any shape.
The same shape, format and seed give the same bytes.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from tools.gguf_writer import TensorInfo, write_gguf
from tools.made_blocks import draw_blocks
from tools.made_mixes import MIXES, PURE, choose_formats, get_mix
from tools.made_shapes import SHAPES, Shape, fixed_tensors, list_metadata, list_tensors
from tools.made_vocab import tokenizer_metadata
from wgpu_infer.errors import UnsupportedError

LOGIT_DEVIATION = 2.0


def make_model(shape: str | Shape, format: str, out: str | os.PathLike[str], seed: int = 0) -> None:
    """Writes a model of a named (or given) shape in a mix or format of made_mixes.py; raises UnsupportedError."""
    sizes = shape if isinstance(shape, Shape) else _get_shape(shape)
    tensors = list_tensors(sizes)
    formats = choose_formats(format, tensors, sizes.heads // sizes.kv_heads)
    infos = [TensorInfo(name, dims, formats[name]) for name, dims in tensors.items()]
    fixed = fixed_tensors(sizes)
    chunks = (iter([fixed[info.name]]) if info.name in fixed else _draw(info, seed) for info in infos)
    name = shape if isinstance(shape, str) else sizes.arch
    write_gguf(out, _metadata(sizes, f"{name} with random weights", format), infos, chunks)


def _get_shape(name: str) -> Shape:
    if name not in SHAPES:
        raise UnsupportedError(f"no shape is called {name}; known: {', '.join(SHAPES)}")
    return SHAPES[name]


def _metadata(shape: Shape, name: str, format: str) -> dict[str, Any]:
    general = {
        "general.architecture": shape.arch,
        "general.name": name,
        "general.file_type": get_mix(format).file_type,
        "general.quantization_version": 2,
    }
    return general | list_metadata(shape) | tokenizer_metadata(shape.tokenizer, shape.vocab)


def _draw(info: TensorInfo, seed: int) -> Iterator[np.ndarray]:
    """The bytes of a tensor. Its generator depends on seed and name alone, so tensors do not depend on each other."""
    rng = np.random.Generator(np.random.SFC64([seed, zlib.crc32(info.name.encode())]))
    if len(info.shape) == 1:
        middle = 1.0 if info.name.endswith("norm.weight") else 0.0
        return iter([np.float32(middle) + 0.1 * rng.standard_normal(info.shape[0], np.float32)])
    gain = LOGIT_DEVIATION if info.name in ("token_embd.weight", "output.weight") else 1.0
    values = info.shape[0] * info.shape[1]
    return draw_blocks(info.format, values, gain / info.shape[1] ** 0.5, rng)


@click.command()
@click.argument("shape", type=click.Choice(list(SHAPES)))
@click.argument("format", type=click.Choice([*MIXES, *PURE]))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Another seed gives other weights.")
def main(shape: str, format: str, out: Path, seed: int) -> None:
    """Write a GGUF of a real model's SHAPE with random weights in FORMAT."""
    make_model(shape, format, out, seed)
    click.echo(f"{out}: {shape} in {format}, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
