"""Writing weight formats: the plain ones to the gguf package's bytes, the K formats to llama.cpp's accuracy or better.

The error of llama.cpp's own quantiser on synthetic weights is a committed file (tools/quant_rmse_golden.py); where
llama-cpp-python is installed its library also quantises trained weights.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import patience

from wgpu_infer.errors import ParameterError, UnsupportedError
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.formats.quants import FORMATS, dequantize, quantize, row_bytes

gguf = pytest.importorskip("gguf")

from tools import quant_rmse_golden as golden  # noqa: E402
from tools.quantize_gguf import main as quantize_command  # noqa: E402
from tools.quantize_gguf import quantize_gguf  # noqa: E402

ALLOWED = 1.1  # times llama.cpp's root mean square error, per tensor
SAME_BYTES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
K_FORMATS = ["Q4_K", "Q5_K", "Q6_K"]
WRITABLE = SAME_BYTES + K_FORMATS
GOLDEN = json.loads(golden.OUT.read_text())
SAMPLES = golden.sample_weights()
EMBEDDED = sorted((golden.OUT.parents[2] / "wgpu_infer" / "data").glob("*.gguf"))


def error_of_ours(x: np.ndarray, name: str) -> float:
    return golden.rms_error(x, quantize(x, name), name)


def written_by_oracle(x: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return gguf.quants.quantize(x, gguf.GGMLQuantizationType[name]).view(np.uint8).reshape(-1)


def test_the_formats_that_can_be_written():
    assert {name for name, row in FORMATS.items() if row.quantize} == set(WRITABLE)


@pytest.mark.parametrize("name", SAME_BYTES)
@pytest.mark.parametrize("title", SAMPLES)
def test_plain_formats_are_written_as_the_gguf_package_writes_them(title, name):
    assert np.array_equal(quantize(SAMPLES[title], name), written_by_oracle(SAMPLES[title], name))


@pytest.mark.parametrize("name", SAME_BYTES)
def test_ties_zeros_and_tiny_values_are_written_as_the_gguf_package_writes_them(name):
    """Halves between codes, blocks of zeros of either sign, magnitudes down to float16's last subnormal."""
    ties = np.arange(-127, 129, dtype=np.float32) / 2
    x = np.stack([ties, 0 * ties, -0.0 * np.abs(ties), ties * 2.0**-20, ties * 1e-30, np.full_like(ties, -3.5)])
    assert np.array_equal(quantize(x, name), written_by_oracle(x, name))


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("title", SAMPLES)
def test_error_is_within_a_tenth_of_llama_cpps(title, name):
    x = SAMPLES[title]
    if name == "F32":
        assert error_of_ours(x, name) == 0
        return
    assert golden.rms(x) == pytest.approx(GOLDEN[title]["rms"], rel=1e-6), "other numbers: remake the golden file"
    assert error_of_ours(x, name) <= ALLOWED * GOLDEN[title][name]


@pytest.mark.parametrize("name", K_FORMATS)
def test_k_formats_beat_llama_cpp_on_weight_like_tensors(name):
    for title in ("gaussian", "heavy-tailed", "laplace", "strong columns"):
        assert error_of_ours(SAMPLES[title], name) < GOLDEN[title][name]


@pytest.fixture(scope="module")
def ggml():
    pytest.importorskip("llama_cpp")
    return golden.load_ggml()


def assert_within_llama_cpp(ggml, title: str, x: np.ndarray) -> None:
    for name in WRITABLE[1:]:
        theirs = golden.rms_error(x, golden.quantize_by_llama_cpp(ggml, x, name), name)
        assert error_of_ours(x, name) <= ALLOWED * theirs, (title, name)


def test_the_golden_errors_are_llama_cpps(ggml):
    for title, x in SAMPLES.items():
        for name in golden.FORMATS:
            theirs = golden.rms_error(x, golden.quantize_by_llama_cpp(ggml, x, name), name)
            assert theirs == pytest.approx(GOLDEN[title][name], rel=1e-3), (title, name)


def matrices(path: Path) -> dict[str, np.ndarray]:
    """The weight matrices of a model, as float32 rows of 256 so that every format can hold them."""
    with GGUF.open(path) as model:
        return {
            name: dequantize(model.data(name), info.format, info.shape).reshape(-1, 256)
            for name, info in model.tensors.items()
            if len(info.shape) == 2 and info.num_elements % 256 == 0
        }


def test_trained_weights_within_a_tenth_of_llama_cpp(ggml, shared):
    tensors = matrices(shared("models", "stories260K-f32.gguf"))
    assert len(tensors) == 2 + 5 * 7  # embedding and output, and seven in each layer
    for title, x in tensors.items():
        assert_within_llama_cpp(ggml, title, x)


@pytest.mark.skipif(not EMBEDDED, reason="the embedded model is not there")
@pytest.mark.parametrize("path", EMBEDDED, ids=lambda path: path.name)
def test_the_embedded_models_weights_within_a_tenth_of_llama_cpp(ggml, path):
    for title, x in matrices(path).items():
        assert_within_llama_cpp(ggml, title, x)


@pytest.mark.parametrize("name", K_FORMATS)
def test_blocks_of_one_value(name):
    """Also zeros, values too small for a float16 scale (they become zero or one step of it) and large ones."""
    rows = np.array([0.0, -0.0, 1.0, -1.0, 1e-3, 1e-7, -1e-7, 1e-30, 1e-42, -5e4], np.float32)
    x = np.repeat(rows[:, None], 256, axis=1)
    with np.errstate(all="raise", under="ignore"):
        back = dequantize(quantize(x, name), name, x.shape)
    assert (np.abs(back - x) <= np.abs(x) / 200 + 2.0**-24).all()


@pytest.mark.parametrize("name", K_FORMATS)
@pytest.mark.parametrize("factor", [1e-2, 1e-3, 1e-4, 1e-5])
def test_small_weights_keep_their_accuracy(name, factor):
    """Weights of 2e-4 and less put `d` into float16's subnormals; all that may be lost is rounding to 2**-24 itself."""
    x = SAMPLES["gaussian"]
    error = error_of_ours(x * np.float32(factor), name)
    assert error <= 1.05 * (factor * error_of_ours(x, name) + 2.0**-24 / np.sqrt(12))


@pytest.mark.parametrize("name", WRITABLE)
def test_rows_are_quantised_alone_and_chunks_do_not_show(name):
    x = np.random.default_rng(3).standard_normal((300, 512)).astype(np.float32)  # more than two chunks of values
    data = quantize(x, name)
    assert data.dtype == np.uint8 and data.shape == (300 * row_bytes(name, 512),)
    for index in (0, 127, 299):
        assert np.array_equal(data.reshape(300, -1)[index], quantize(x[index : index + 1], name))


def test_other_float_types_and_strided_input():
    x = np.random.default_rng(4).standard_normal((4, 1024)).astype(np.float16)
    expected = quantize(x[:, ::2].astype(np.float32), "Q4_K")
    assert np.array_equal(quantize(x[:, ::2], "Q4_K"), expected)
    assert np.array_equal(quantize(x[:, ::2].astype(np.float64), "Q4_K"), expected)


def test_memory_and_time_stay_bounded():
    """3 million values in Q4_K: the input is 12 MB, the output 1.7 MB, and the work needs little beside them."""
    x = np.random.default_rng(5).standard_normal((12, 1 << 18)).astype(np.float32)
    tracemalloc.start()
    started = time.process_time()
    data = quantize(x, "Q4_K")
    seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < data.nbytes + 8e6
    assert seconds < 15 * patience()


@pytest.mark.parametrize("name", [name for name in WRITABLE if FORMATS[name].block_size > 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, 2e9])
def test_block_formats_refuse_what_they_cannot_hold(name, bad):
    x = np.ones((1, 512), np.float32)
    x[0, 300] = bad
    with pytest.raises(ParameterError):
        quantize(x, name)


def test_16_bit_floats_keep_infinity_and_nan_but_refuse_overflow():
    x = np.array([[np.inf, -np.inf, np.nan, 65504.0]], np.float32)
    for name in ("F16", "BF16"):
        back = dequantize(quantize(x, name), name, x.shape)
        assert np.array_equal(np.isnan(back), np.isnan(x)) and np.array_equal(np.isinf(back), np.isinf(x))
    with pytest.raises(ParameterError, match="too large for float16: 70000 is over 65504"):
        quantize(np.array([[70000.0]]), "F16")


def test_errors_name_what_is_wrong():
    with pytest.raises(UnsupportedError, match=r"quantising to Q2_K is not supported; .* written: F32, .*Q6_K"):
        quantize(np.zeros((1, 256)), "Q2_K")
    with pytest.raises(ParameterError, match=r"64 values is not a multiple of Q6_K's block of 256"):
        quantize(np.zeros((4, 64)), "Q6_K")


# --- whole files -----------------------------------------------------------------------------------------------------


def small_model(path: Path) -> dict[str, np.ndarray]:
    """A GGUF with rows that fit K blocks, rows that fit 32, rows that fit neither, a norm and typed metadata."""
    rng = np.random.default_rng(6)
    shapes = {"token_embd.weight": (8, 512), "blk.0.ffn_down.weight": (4, 96), "odd.weight": (3, 20)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {"output_norm.weight": np.ones(512, np.float32), "blk.0.bias": np.zeros(4, np.float32)}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint16("small.u16", 7)
    writer.add_float32("small.f32", 0.1)
    writer.add_bool("small.flag", True)
    writer.add_array("small.tokens", ["a", "é", "\u2581b"])
    writer.add_key_value("small.types", [1, 2, 3], gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.INT32)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.mark.parametrize(
    ("name", "chosen", "file_type"),
    [
        ("Q4_K", ["Q4_K", "Q5_0", "F16"], 14),
        ("Q5_K", ["Q5_K", "Q5_1", "F16"], 16),
        ("Q6_K", ["Q6_K", "Q8_0", "F16"], 18),
        ("Q8_0", ["Q8_0", "Q8_0", "F16"], 7),
        ("Q4_0", ["Q4_0", "Q4_0", "F16"], 2),
        ("F16", ["F16", "F16", "F16"], 1),
        ("F32", ["F32", "F32", "F32"], 0),
    ],
)
def test_a_whole_file(tmp_path, name, chosen, file_type):
    tensors = small_model(tmp_path / "small.gguf")
    lines: list[str] = []
    formats = quantize_gguf(tmp_path / "small.gguf", tmp_path / "out.gguf", name, report=lines.append)
    assert list(formats.values()) == [*chosen, "F32", "F32"]
    assert len(lines) == sum(each != name for each in chosen)
    reader = gguf.GGUFReader(tmp_path / "out.gguf")  # the package's own reader, not ours
    assert [tensor.tensor_type.name for tensor in reader.tensors] == [*chosen, "F32", "F32"]
    assert reader.get_field("general.file_type").contents() == file_type
    for tensor in reader.tensors:
        x, kind = tensors[tensor.name], tensor.tensor_type.name
        expected = dequantize(quantize(np.atleast_2d(x), kind), kind, x.shape)
        assert np.array_equal(gguf.quants.dequantize(tensor.data, tensor.tensor_type), expected)


def test_metadata_keeps_values_and_types(tmp_path):
    small_model(tmp_path / "small.gguf")
    quantize_gguf(tmp_path / "small.gguf", tmp_path / "out.gguf", "Q8_0")
    with GGUF.open(tmp_path / "small.gguf") as before, GGUF.open(tmp_path / "out.gguf") as after:
        assert set(after.metadata) == {*before.metadata, "general.quantization_version"}
        for key in set(before.metadata) - {"general.file_type"}:
            assert after.metadata.entry(key).type_name == before.metadata.entry(key).type_name
            assert np.array_equal(after.metadata[key], before.metadata[key])


def test_the_command_says_what_it_wrote(tmp_path):
    small_model(tmp_path / "small.gguf")
    arguments = [str(tmp_path / "small.gguf"), "Q4_K", str(tmp_path / "out.gguf")]
    result = CliRunner().invoke(quantize_command, arguments)
    assert result.exit_code == 0
    assert "blk.0.ffn_down.weight: rows of 96 values do not fill Q4_K's blocks; Q5_0 instead" in result.output
    assert "1 Q4_K, 1 Q5_0, 1 F16, 2 F32" in result.output
    (tmp_path / "small.gguf").write_text("no model")
    result = CliRunner().invoke(quantize_command, arguments)
    assert result.exit_code == 1 and "Error:" in result.output and "small.gguf" in result.output


def test_a_file_that_cannot_be_converted_leaves_nothing_behind(tmp_path):
    source = tmp_path / "small.gguf"
    small_model(source)
    before = source.read_bytes()
    with pytest.raises(ParameterError, match="in place"):
        quantize_gguf(source, source, "Q8_0")
    with pytest.raises(UnsupportedError, match="Q3_K"):
        quantize_gguf(source, tmp_path / "out.gguf", "Q3_K")
    assert source.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["small.gguf"]


def test_a_q4_0_file_equals_llama_cpps(tmp_path, shared):
    """Our Q4_0 file of stories260K holds the same blocks as llama.cpp's own, wherever both chose Q4_0."""
    quantize_gguf(shared("models", "stories260K-f32.gguf"), tmp_path / "ours.gguf", "Q4_0")
    with GGUF.open(tmp_path / "ours.gguf") as ours, GGUF.open(shared("models", "stories260K-Q4_0.gguf")) as theirs:
        same = [name for name, info in theirs.tensors.items() if info.format == "Q4_0"]
        assert len(same) >= 30
        assert all(np.array_equal(ours.data(name), theirs.data(name)) for name in same)
