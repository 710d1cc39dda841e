"""Derives a GGUF file in another weight format from one in F32 or F16.

    python tools/quantize_gguf.py SRC FORMAT DST

Weight matrices get FORMAT, all of them alike (llama.cpp's mixes as Q4_K_M choose by tensor); norms, biases and other
vectors and the metadata with its tokenizer are copied. Where a row does not fill FORMAT's blocks a smaller block takes
over, as in llama.cpp, and the tool says so. Tensors are converted one at a time, so memory holds the largest of them.
Writing is the `gguf` package's (0.17 or newer).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
import gguf
import numpy as np

from wgpu_infer.errors import ParameterError, WgpuInferError
from wgpu_infer.formats.gguf import GGUF, TensorInfo
from wgpu_infer.formats.quants import FORMATS, dequantize, get_format, quantize

SMALLER_BLOCK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
# llama.cpp's numbers for "mostly this format"; the S variants of the K formats come closest to "all of it"
FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
    "Q4_1": gguf.LlamaFileType.MOSTLY_Q4_1,
    "Q5_0": gguf.LlamaFileType.MOSTLY_Q5_0,
    "Q5_1": gguf.LlamaFileType.MOSTLY_Q5_1,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q4_K": gguf.LlamaFileType.MOSTLY_Q4_K_S,
    "Q5_K": gguf.LlamaFileType.MOSTLY_Q5_K_S,
    "Q6_K": gguf.LlamaFileType.MOSTLY_Q6_K,
}
REWRITTEN = ("general.architecture", "general.file_type", "general.quantization_version", "general.alignment", "split.")
WRITABLE = [name for name, row in FORMATS.items() if row.quantize]


def quantize_gguf(
    src_path: str | os.PathLike[str],
    dst_path: str | os.PathLike[str],
    format: str,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Writes `dst_path` with the weights of `src_path` in `format`; returns the format of every tensor by name.

    `report` gets a line for each tensor that cannot have `format`. Raises UnsupportedError for a format that cannot be
    written, ModelFormatError for a source that is not valid, ParameterError where source and target are one file.
    """
    quantize(np.empty((0, get_format(format).block_size), np.float32), format)  # refuses what cannot be written
    src_path, dst_path = Path(src_path), Path(dst_path)
    if dst_path.exists() and dst_path.samefile(src_path):
        raise ParameterError(f"{src_path} cannot be rewritten in place; give another target")
    unfinished = dst_path.with_name(dst_path.name + ".part")
    with GGUF.open(src_path) as source:
        formats = {name: choose_format(info, format, report) for name, info in source.tensors.items()}
        try:
            _write(unfinished, source, formats, format)
            os.replace(unfinished, dst_path)
        finally:
            unfinished.unlink(missing_ok=True)
    return formats


def choose_format(info: TensorInfo, format: str, report: Callable[[str], None]) -> str:
    """The format a tensor gets: its own unless it is a weight matrix, else `format` or the smaller block that fits."""
    if len(info.shape) < 2 or not info.name.endswith(".weight") or "_norm" in info.name:
        return info.format
    candidates = [format, SMALLER_BLOCK.get(format, "F16"), "F16"]
    chosen = next(name for name in candidates if info.shape[-1] % FORMATS[name].block_size == 0)
    if chosen != format:
        report(f"{info.name}: rows of {info.shape[-1]} values do not fill {format}'s blocks; {chosen} instead")
    return chosen


def _write(path: Path, source: GGUF, formats: dict[str, str], format: str) -> None:
    writer = gguf.GGUFWriter(path, source.get_str("general.architecture"))
    try:
        _add_metadata(writer, source, format)
        for name, info in source.tensors.items():
            row = FORMATS[formats[name]] if formats[name] != info.format else None
            nbytes = info.num_elements // row.block_size * row.block_bytes if row else info.nbytes
            kind = gguf.GGMLQuantizationType[formats[name]]
            writer.add_tensor_info(name, info.shape, np.dtype(np.float32), nbytes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name in source.tensors:
            writer.write_tensor_data(_convert(source, name, formats[name]))
    finally:
        writer.close()


def _add_metadata(writer: gguf.GGUFWriter, source: GGUF, format: str) -> None:
    """Copies all keys with their types; the package writes the architecture itself and cannot write empty arrays."""
    for key, value in source.metadata.items():
        entry = source.metadata.entry(key)
        if key.startswith(REWRITTEN) or entry.size == 0:
            continue
        kind = gguf.GGUFValueType[entry.type.name]
        if entry.size is None:
            writer.add_key_value(key, value, kind)
        else:
            writer.add_key_value(key, list(value), gguf.GGUFValueType.ARRAY, sub_type=kind)
    writer.add_file_type(FILE_TYPES[format])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _convert(source: GGUF, name: str, format: str) -> np.ndarray:
    """The blocks of a tensor in `format`, uint8 (bytes,)."""
    info = source.tensors[name]
    if format == info.format:
        return source.data(name)
    return quantize(dequantize(source.data(name), info.format, info.shape), format)


@click.command()
@click.argument("src", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("format", type=click.Choice(WRITABLE))
@click.argument("dst", type=click.Path(dir_okay=False, path_type=Path))
def main(src: Path, format: str, dst: Path) -> None:
    """Writes DST with the weight matrices of SRC (a GGUF file in F32 or F16) in FORMAT."""
    try:
        formats = quantize_gguf(src, dst, format, report=click.echo)
    except (WgpuInferError, OSError) as error:
        raise click.ClickException(str(error)) from error
    counts = {name: list(formats.values()).count(name) for name in dict.fromkeys(formats.values())}
    click.echo(f"{dst}: {dst.stat().st_size} bytes, " + ", ".join(f"{n} {name}" for name, n in counts.items()))


if __name__ == "__main__":
    main()
