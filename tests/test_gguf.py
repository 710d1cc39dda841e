"""Good GGUF files: what the reader says equals what the gguf package wrote and what its own reader says."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path
from unittest import mock

import gguf as oracle
import gguf_bytes as raw
import numpy as np
import pytest
from tracing import paused

from wgpu_infer.errors import ModelFormatError
from wgpu_infer.formats import gguf_types
from wgpu_infer.formats.gguf import GGUF

KINDS = ("f32", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q4_K_M", "Q6_K")
MODELS = [f"stories260K-{kind}.gguf" for kind in KINDS]
VOCABULARIES = ("bert-bge", "command-r", "deepseek-coder", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2")
FILES = [
    *(("models", name) for name in [*MODELS, "llama-2-tiny-random.gguf"]),
    *(("vocab", f"ggml-vocab-{name}.gguf") for name in VOCABULARIES),
]
INTEGERS = {
    "uint8": (0, 200, 255),
    "int8": (-128, -1, 127),
    "uint16": (0, 65_535),
    "int16": (-32_768, 32_767),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint64": (0, 2**64 - 1),
    "int64": (-(2**63), 2**63 - 1),
}


def writer_of(path: Path, **options) -> oracle.GGUFWriter:
    return oracle.GGUFWriter(path, "llama", **options)


def finish(writer: oracle.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def set_version(path: Path, version: int) -> None:
    """The gguf package writes v3 only; v2 has the same layout."""
    with open(path, "r+b") as file:
        file.seek(4)
        file.write(version.to_bytes(4, "little"))


def read_with_oracle(path: Path) -> oracle.GGUFReader:
    """On plain arrays and without garbage collections the oracle is six times as fast on a vocabulary."""
    gc.disable()
    try:
        with mock.patch.object(np, "memmap", lambda path, mode: np.fromfile(path, np.uint8)):
            return paused(oracle.GGUFReader)(path)
    finally:
        gc.enable()


def assert_same_as_oracle(path: Path) -> None:
    """Keys, values and their types, and of every tensor name, shape, type, offset and bytes, in the same order."""
    reader = read_with_oracle(path)
    with GGUF.open(path) as gguf:
        fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
        assert list(gguf.metadata) == list(fields)
        for key, field in fields.items():
            assert_same_value(gguf, key, field)
        assert list(gguf.tensors) == [tensor.name for tensor in reader.tensors]
        for tensor in reader.tensors:
            assert_same_tensor(gguf, tensor)


def assert_same_value(gguf: GGUF, key: str, field: oracle.ReaderField) -> None:
    value, expected = gguf.metadata[key], paused(field.contents)()
    entry = gguf.metadata.entry(key)
    if field.types[0] == oracle.GGUFValueType.ARRAY:
        # the oracle does not tell the element type of an empty array
        assert entry.type.name == field.types[-1].name or not expected
        assert entry.size == len(expected)
        value = value.tolist() if isinstance(value, np.ndarray) else value
    else:
        assert entry.type_name == field.types[0].name
    assert value == expected and type(value) is type(expected)


def assert_same_tensor(gguf: GGUF, tensor: oracle.ReaderTensor) -> None:
    info = gguf.tensors[tensor.name]
    assert info.shape == tuple(reversed(tensor.shape.tolist()))
    assert (info.format, info.offset, info.nbytes) == (tensor.tensor_type.name, tensor.data_offset, tensor.n_bytes)
    assert gguf.data(tensor.name).tobytes() == tensor.data.tobytes()


def write_every_type(path: Path) -> None:
    writer = writer_of(path)
    for name, values in INTEGERS.items():
        kind = oracle.GGUFValueType[name.upper()]
        for index, value in enumerate(values):
            writer.add_key_value(f"{name}.{index}", value, kind)
        writer.add_key_value(f"{name}.array", list(values), oracle.GGUFValueType.ARRAY, kind)
    writer.add_float32("float32", 1e-5)
    writer.add_float64("float64", math.pi)
    writer.add_key_value("f32s", [1.5, -0.25, 3e38], oracle.GGUFValueType.ARRAY, oracle.GGUFValueType.FLOAT32)
    writer.add_key_value("f64s", [1e300, -0.0], oracle.GGUFValueType.ARRAY, oracle.GGUFValueType.FLOAT64)
    writer.add_bool("yes", True)
    writer.add_bool("no", False)
    writer.add_array("bools", [True, False, True])
    writer.add_string("text", "né 中 😀 \x00 end")
    writer.add_array("texts", ["a", "", "▁Once", "😀" * 100])
    writer.add_string("long", "x" * 100_000)
    writer.add_tensor("scalar-like", np.float32([7]))
    writer.add_tensor("4d", np.arange(2 * 3 * 4 * 5, dtype=np.float16).reshape(2, 3, 4, 5))
    finish(writer)


@pytest.mark.parametrize("version", [2, 3])
def test_every_metadata_type(tmp_path: Path, version: int) -> None:
    path = tmp_path / "types.gguf"
    write_every_type(path)
    set_version(path, version)
    assert_same_as_oracle(path)
    with GGUF.open(path) as gguf:
        assert gguf.version == version
        assert gguf.metadata["uint64.1"] == 2**64 - 1
        assert gguf.metadata["uint64.array"].dtype == np.uint64
        assert gguf.metadata["bools"].dtype == np.bool_
        assert gguf.tensors["4d"].shape == (2, 3, 4, 5)
        assert gguf.tensors["4d"].num_elements == 120


@pytest.mark.parametrize(("folder", "name"), FILES, ids=[name for _, name in FILES])
def test_reference_file_equals_oracle(shared, folder: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none of them has bytes to ignore
        assert_same_as_oracle(shared(folder, name))


def test_tensor_types_are_those_of_the_gguf_package() -> None:
    theirs = {kind.value: (kind.name, *oracle.GGML_QUANT_SIZES[kind]) for kind in oracle.GGMLQuantizationType}
    ours = {row.ggml_type: (row.name, row.block_size, row.block_bytes) for row in gguf_types.TENSOR_TYPES.values()}
    # The package counts two f32 in a Q8_1 block where ggml's struct has two f16. Only computing uses it, no file.
    assert theirs.pop(9) == ("Q8_1", 32, 40) and ours.pop(9) == ("Q8_1", 32, 36)
    assert set(theirs) <= set(ours)
    assert {key: ours[key] for key in theirs} == theirs
    assert not set(ours) & set(gguf_types.REMOVED_TENSOR_TYPES)


def test_value_types_are_those_of_the_gguf_package() -> None:
    assert {key: kind.name for key, kind in gguf_types.VALUE_TYPES.items()} | {gguf_types.ARRAY_TYPE: "ARRAY"} == {
        kind.value: kind.name for kind in oracle.GGUFValueType
    }


@pytest.mark.parametrize("kind", [kind for kind in oracle.GGMLQuantizationType if kind.name != "Q8_1"])
def test_tensor_of_every_type(tmp_path: Path, kind: oracle.GGMLQuantizationType) -> None:
    block, nbytes = oracle.GGML_QUANT_SIZES[kind]
    path = tmp_path / "tensor.gguf"
    data = np.random.default_rng(kind.value).integers(0, 256, (3, 2 * nbytes), dtype=np.uint8)
    writer = writer_of(path)
    writer.add_tensor("before", np.ones(3, np.float32))
    writer.add_tensor("weight", data, raw_shape=(3, 2 * nbytes), raw_dtype=kind)
    finish(writer)
    assert_same_as_oracle(path)
    with GGUF.open(path) as gguf:
        assert gguf.tensors["weight"].shape == (3, 2 * block)
        assert (gguf.data("weight") == data.reshape(-1)).all()


@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_alignment(tmp_path: Path, alignment: int) -> None:
    path = tmp_path / "aligned.gguf"
    writer = writer_of(path)
    writer.add_custom_alignment(alignment)
    for index in range(3):
        writer.add_tensor(f"t{index}", np.full(index + 1, index, np.float32))
    finish(writer)
    assert_same_as_oracle(path)
    with GGUF.open(path) as gguf:
        assert all(info.offset % alignment == 0 for info in gguf.tensors.values())


def test_data_is_a_read_only_view_of_the_map(tmp_path: Path) -> None:
    path = tmp_path / "types.gguf"
    write_every_type(path)
    with GGUF.open(path) as gguf:
        data = gguf.data("4d")
        assert data.dtype == np.uint8 and data.shape == (240,)
        assert np.shares_memory(data, gguf.data("4d"))
        with pytest.raises(ValueError, match="read-only"):
            data[0] = 1
        with pytest.raises(ValueError, match="read-only"):
            gguf.metadata["f32s"][0] = 1
    assert data.view(np.float16)[-1] == 119  # outlives the reader
    with pytest.raises(ValueError, match="closed"):
        gguf.data("4d")


def test_close_releases_the_file(tmp_path: Path) -> None:
    path = tmp_path / "types.gguf"
    write_every_type(path)
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    with GGUF.open(path) as gguf:
        assert gguf.metadata["float32"] == np.float32(1e-5)
        gguf.data("4d")
    gguf.close()
    assert (os.listdir("/proc/self/fd") if before else []) == before
    assert gguf.metadata["float32"] == np.float32(1e-5)
    with pytest.raises(ValueError, match="text was not read before its file was closed"):
        gguf.metadata["text"]
    with pytest.raises(KeyError):
        gguf.metadata["nosuch"]


def write_vocabulary(path: Path, tokens: int, merges: int) -> None:
    """A vocabulary of the size of a large model's, by the shortest way."""
    image = raw.build(
        [
            raw.scalar("general.architecture", raw.STRING, "llama"),
            raw.array("tokenizer.ggml.tokens", raw.STRING, [f"token{i}" for i in range(tokens)]),
            raw.array("tokenizer.ggml.scores", raw.F32, [-float(i) for i in range(tokens)]),
            raw.array("tokenizer.ggml.token_type", raw.I32, [1] * tokens),
            raw.array("tokenizer.ggml.merges", raw.STRING, [f"a{i} b{i}" for i in range(merges)]),
        ]
    )
    path.write_bytes(image.data)


def test_large_vocabulary_is_not_decoded_on_open(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    write_vocabulary(path, 150_000, 300_000)
    tracemalloc.start()
    try:
        gguf = GGUF.open(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    with gguf:
        assert peak < 200_000  # the file has 12 MB
        assert not any(gguf.metadata.is_decoded(key) for key in gguf.metadata)
        assert gguf.metadata.entry("tokenizer.ggml.tokens").type_name == "STRING[150000]"
        tokens = gguf.metadata["tokenizer.ggml.tokens"]
        assert type(tokens) is list and len(tokens) == 150_000 and tokens[-1] == "token149999"
        assert gguf.metadata["tokenizer.ggml.tokens"] is tokens
        assert gguf.metadata["tokenizer.ggml.scores"][-1] == -149_999
        assert gguf.metadata["tokenizer.ggml.merges"][-1] == "a299999 b299999"


def test_metadata_is_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "good.gguf"
    path.write_bytes(raw.good().data)
    with GGUF.open(path) as gguf:
        metadata = gguf.metadata
        assert "a.B" in metadata and "nosuch" not in metadata and metadata.get("nosuch", 5) == 5
        assert len(metadata) == len(list(metadata)) == len(dict(metadata))
        assert dict(metadata)["tokenizer.ggml.tokens"] == ["<s>", "", "▁Once", "upon"]
        assert metadata["empty"] == [] and metadata["a.?"] is True
        assert str(len(metadata)) in repr(metadata)
        assert repr(path.name)[1:-1] in repr(gguf)


def typed(tmp_path: Path) -> GGUF:
    path = tmp_path / "typed.gguf"
    keys = [
        raw.scalar("int", raw.U32, 7),
        raw.scalar("float", raw.F32, 0.5),
        raw.scalar("nan", raw.F32, math.nan),
        raw.scalar("inf", raw.F64, math.inf),
        raw.scalar("text", raw.STRING, "hi"),
        raw.scalar("bool", raw.BOOL, True),
        raw.array("texts", raw.STRING, ["a"]),
        raw.array("ints", raw.I32, [1, 2]),
    ]
    path.write_bytes(raw.build(keys).data)
    return GGUF.open(path)


def test_getters_return_values(tmp_path: Path) -> None:
    with typed(tmp_path) as gguf:
        assert gguf.get_int("int") == gguf.get_int("int", minimum=7, maximum=7) == 7
        assert gguf.get_float("float") == 0.5 and gguf.get_float("int") == 7.0
        assert type(gguf.get_float("int")) is float
        assert gguf.get_str("text") == "hi" and gguf.get_bool("bool") is True
        assert gguf.get_strings("texts") == ["a"] and gguf.get_array("ints").tolist() == [1, 2]
        assert gguf.get_int("nosuch", 3, minimum=5) == 3 and gguf.get_float("nosuch", None) is None
        assert gguf.get_str("nosuch", "d") == "d" and gguf.get_bool("nosuch", False) is False
        assert gguf.get_strings("nosuch", []) == [] and gguf.get_array("nosuch", None) is None


@pytest.mark.parametrize(
    ("getter", "key", "options", "message"),
    [
        ("get_int", "nosuch", {}, "no nosuch"),
        ("get_int", "float", {}, "float must be a whole number, but has type FLOAT32"),
        ("get_int", "bool", {}, "whole number, but has type BOOL"),
        ("get_int", "ints", {}, r"whole number, but has type INT32\[2\]"),
        ("get_int", "int", {"minimum": 8}, "int is 7; it must be at least 8"),
        ("get_int", "int", {"minimum": 1, "maximum": 6}, "int is 7; it must be at least 1 and at most 6"),
        ("get_float", "nan", {}, "nan is nan; it must be finite"),
        ("get_float", "inf", {}, "inf is inf; it must be finite"),
        ("get_float", "text", {}, "text must be a number"),
        ("get_float", "bool", {}, "bool must be a number"),
        ("get_float", "float", {"maximum": 0.25}, "float is 0.5; it must be at most 0.25"),
        ("get_str", "int", {}, "int must be a string, but has type UINT32"),
        ("get_bool", "int", {}, "int must be a bool"),
        ("get_strings", "text", {}, "text must be an array of strings"),
        ("get_array", "texts", {}, "texts must be an array of numbers"),
    ],
)
def test_getters_refuse(tmp_path: Path, getter: str, key: str, options: dict, message: str) -> None:
    with typed(tmp_path) as gguf, pytest.raises(ModelFormatError, match=message) as caught:
        getattr(gguf, getter)(key, **options)
    assert caught.value.path == gguf.path
    assert caught.value.offset == gguf.offset_of(key)


def test_offset_of_is_the_place_of_the_value(tmp_path: Path) -> None:
    with typed(tmp_path) as gguf:
        content = Path(gguf.path).read_bytes()
        assert content[gguf.offset_of("int") :][:4] == (7).to_bytes(4, "little")
        assert content[gguf.offset_of("text") :][8:10] == b"hi"
        assert gguf.offset_of("nosuch") is None


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    with typed(tmp_path) as gguf, pytest.raises(ModelFormatError, match=r"'output\.weight' is missing"):
        gguf.data("output.weight")


def write_split(tmp_path: Path) -> list[Path]:
    """Five tensors in three files, written by the gguf package."""
    writer = writer_of(tmp_path / "model.gguf", split_max_tensors=2)
    writer.add_uint32("llama.block_count", 2)
    for index in range(5):
        writer.add_tensor(f"t{index}", np.full((index + 1, 32), index, np.float32))
    finish(writer)
    return [tmp_path / f"model-{n:05d}-of-00003.gguf" for n in (1, 2, 3)]


def test_split_model_is_one_model(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    with GGUF.open(paths[0]) as gguf:
        assert [shard.path for shard in gguf.shards] == [str(path) for path in paths]
        assert gguf.metadata["llama.block_count"] == 2
        assert list(gguf.tensors) == [f"t{i}" for i in range(5)]
        assert [info.shard for info in gguf.tensors.values()] == [0, 0, 1, 1, 2]
        for index in range(5):
            assert (gguf.data(f"t{index}").view(np.float32) == index).all()
            assert gguf.data(f"t{index}").size == (index + 1) * 128
        error = gguf.tensor_fault("has a NaN", "t4")
        assert error.path == str(paths[2]) and "tensor 't4' has a NaN" in str(error)
        assert paths[2].read_bytes()[error.offset :][:10] == b"\2" + bytes(7) + b"t4"


def test_importing_the_reader_is_light() -> None:
    code = (
        "import sys, wgpu_infer.formats.gguf; print([m for m in ('numba','wgpu','torch','gguf') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
