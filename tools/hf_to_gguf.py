"""Writes a Hugging Face causal language model as one GGUF file.

    python tools/hf_to_gguf.py FOLDER OUT.gguf [--dtype F32]

FOLDER holds config.json and model.safetensors. The vocabulary is synthetic (made_vocab.py) and only as large as the
model's: the file serves to compare logits on ids, not to read text.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from tools.gguf_writer import TensorInfo, write_gguf
from tools.made_mixes import get_mix
from tools.made_vocab import tokenizer_metadata
from wgpu_infer.formats.quants import quantize
from wgpu_infer.models.hf_config import hf_metadata, rope_factors
from wgpu_infer.models.hf_names import rename_tensors


def convert(state_dict: Mapping[str, Any], hf_config: Any, out: str | os.PathLike[str], dtype: str = "F32") -> None:
    """Writes a state dict (torch tensors or arrays) with its configuration (object or dict) to a GGUF file.

    Matrices get the format `dtype`, vectors F32. Raises UnsupportedError or ModelFormatError for models we do not run.
    """
    config = hf_config if isinstance(hf_config, Mapping) else hf_config.to_dict()
    metadata = hf_metadata(config)
    metadata |= {"general.file_type": get_mix(dtype).file_type, "general.quantization_version": 2}
    metadata |= tokenizer_metadata("llama-spm", config["vocab_size"])
    tensors = _tensors(state_dict, config, metadata)
    infos = [TensorInfo(name, each.shape, dtype if each.ndim == 2 else "F32") for name, each in tensors.items()]
    chunks = ([quantize(np.atleast_2d(tensors[info.name]), info.format)] for info in infos)
    write_gguf(out, metadata, infos, chunks)


def _tensors(state_dict: Mapping[str, Any], config: Mapping[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    arch = metadata["general.architecture"]
    heads, kv_heads = (metadata[f"{arch}.attention.{key}"] for key in ("head_count", "head_count_kv"))
    arrays = {name: _array(tensor) for name, tensor in state_dict.items()}
    tensors = rename_tensors(arch, arrays, heads, kv_heads, bool(config.get("tie_word_embeddings")))
    factors = rope_factors(config)
    return tensors if factors is None else tensors | {"rope_freqs.weight": factors}


def _array(tensor: Any) -> np.ndarray:
    """A torch tensor (of any float type) or an array as a float32 array."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().float().cpu().numpy()
    return np.asarray(tensor, np.float32)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--dtype", default="F32", show_default=True, help="Format of the matrices.")
def main(folder: Path, out: Path, dtype: str) -> None:
    """Write the model in FOLDER as the GGUF file OUT."""
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    convert(load_file(folder / "model.safetensors"), config, out, dtype)
    click.echo(f"{out}: {config['model_type']} in {dtype}, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
