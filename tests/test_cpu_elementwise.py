"""The CPU twins of norms, activations, int8 blocks and row look-ups, called directly: parts, guards, edge values."""

from __future__ import annotations

import hashlib
import importlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, child_environ

from cpu_fallback import variant
from cpu_fallback.jit import SCRATCH
from wgpu_infer.backends.compare import compare, compare_act8
from wgpu_infer.contracts.cases import activations, index_array
from wgpu_infer.contracts.contract import Case, as_outputs
from wgpu_infer.contracts.glu import ACTIVATIONS
from wgpu_infer.contracts.host import HostAct8
from wgpu_infer.contracts.table import OPS
from wgpu_infer.formats import quants

NAMES = [
    "rms_norm", "add_rms_norm", "layer_norm", "rms_norm_act8", "add_rms_norm_act8", "quantize", "glu", "glu_act8",
    "activate", "add", "gather_rows", "softmax", "argmax",
]  # fmt: skip
CASES = [pytest.param(name, case, id=f"{name}-{case.id}") for name in NAMES for case in OPS[name].cases()]
DTYPES = {"f32": np.float32, "u32": np.uint32}
GUARD = {"float32": -12345.5, "uint32": 0xDEADBEEF, "int8": 77, "int16": 7777}
GUARDS = 64  # elements behind every written array


class Guarded:
    """An array with guards behind it."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, values: np.ndarray | None = None):
        self.size = math.prod(shape)
        self.flat = np.full(self.size + GUARDS, GUARD[np.dtype(dtype).name], dtype)
        self.array = self.flat[: self.size].reshape(shape)
        if values is not None:
            self.array[...] = values

    def is_intact(self) -> bool:
        return bool((self.flat[self.size :] == GUARD[self.flat.dtype.name]).all())


def act8_arrays(rows: int, cols: int) -> list[Guarded]:
    blocks = rows, cols // 32
    return [Guarded((rows, cols), np.int8), Guarded(blocks, np.float32), Guarded((*blocks, 2), np.int16)]


def call(name: str, case: Case, parts: int | None = None, backwards: bool = False) -> dict[str, list[np.ndarray]]:
    """What the twin writes, by operand, when its parts run one after the other. Guards are checked."""
    op, module = OPS[name], importlib.import_module(f"cpu_fallback.{name}")
    written: dict[str, list[Guarded]] = {}
    arguments: list = []
    for spec in op.operands:
        shape = spec.shape(case.params)
        if spec.access == "r":
            arguments.append(case.operands[spec.name])
            continue
        values = case.operands[spec.name] if spec.access == "rw" else None
        is_act8 = spec.kind == "act8"
        written[spec.name] = act8_arrays(*shape) if is_act8 else [Guarded(shape, DTYPES[spec.dtype], values)]
        arguments += [each.array for each in written[spec.name]]
    arguments += [
        (float if op.params[p].kind == "f" else int)(op.params[p].type(case.params[p])) for p in op.param_names()
    ]
    parts = parts or module.parts(**case.params)
    scratch = np.full(SCRATCH, np.nan, np.float32)
    for part in reversed(range(parts)) if backwards else range(parts):
        assert getattr(module, name)(*arguments, part, parts, scratch) == 0
    for each in (each for group in written.values() for each in group):
        assert each.is_intact(), f"{name} wrote behind an output"
    return {operand: [each.array for each in group] for operand, group in written.items()}


def judge(name: str, case: Case, got: dict[str, list[np.ndarray]]) -> None:
    """Against the contract's reference, per element."""
    op = OPS[name]
    expected = as_outputs(op.reference(*(case.operands[spec.name] for spec in op.reads), **case.params))
    for spec, want in zip(op.writes, expected, strict=True):
        if isinstance(want, HostAct8):
            codes, scales, sums = got[spec.name]
            assert (wrong := compare_act8(op, spec.name, HostAct8(codes, scales), want)) is None, wrong
            np.testing.assert_array_equal(sums, HostAct8(codes, scales).sums)
        else:
            (value,) = got[spec.name]
            wrong = compare(op, spec.name, case.operands, value, np.asarray(want).reshape(value.shape), case.params)
            assert wrong is None, wrong


def assert_same_bits(first: dict[str, list[np.ndarray]], second: dict[str, list[np.ndarray]]) -> None:
    for name in first:
        for one, other in zip(first[name], second[name], strict=True):
            assert one.tobytes() == other.tobytes(), name


@pytest.mark.parametrize("name, case", CASES)
def test_any_number_of_parts_gives_the_reference(name, case):
    whole = call(name, case, parts=1)
    judge(name, case, whole)
    for parts in (None, 2, 3, 7):
        assert_same_bits(call(name, case, parts, backwards=True), whole)


@pytest.mark.parametrize("name", NAMES)
def test_parts_grow_with_the_work(name):
    module = importlib.import_module(f"cpu_fallback.{name}")

    def parts(rows: int) -> int:
        sizes = {"rows": rows, "tokens": rows, "dim": 2048, "cols": 2048, "n": rows * 2048, "period": 2048}
        return module.parts(**sizes, eps=1e-5, scale=1.0, activation=0, weight_bytes=0)

    assert parts(1) == 1
    assert 8 <= parts(256) <= 256


# -- norms


def norm_case(rows: int, dim: int, x: np.ndarray) -> Case:
    operands = {
        "x": x, "delta": activations(rows, dim, seed=1), "gain": activations(dim, seed=2),
        "bias": activations(dim, seed=3),
    }  # fmt: skip
    return Case("norm", operands, {"rows": rows, "dim": dim, "eps": 1e-5})


@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 31, 63, 64, 65, 100, 127, 130, 5000])
@pytest.mark.parametrize("name", ["rms_norm", "add_rms_norm", "layer_norm"])
def test_rows_of_any_length(name, dim):
    case = norm_case(5, dim, activations(5, dim, seed=dim))
    got = call(name, case, parts=2)
    judge(name, case, got)
    alone = norm_case(1, dim, case.operands["x"][3:4])
    alone.operands["delta"] = case.operands["delta"][3:4]
    assert call(name, alone)["out"][0].tobytes() == got["out"][0][3:4].tobytes(), "a row alone and in company"


def test_a_layer_norm_far_from_zero():
    """The mean is 1000 times the deviation: a float32 mean is not good enough."""
    case = norm_case(3, 2000, activations(3, 2000, seed=7) + np.float32(1000))
    judge("layer_norm", case, call("layer_norm", case))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["rms_norm", "layer_norm", "rms_norm_act8"])
def test_a_row_that_is_not_finite_keeps_to_itself(name, bad):
    x = activations(3, 96, seed=4)
    clean = call(name, norm_case(3, 96, x.copy()))
    x[1, 37] = bad
    with np.errstate(invalid="ignore"):
        dirty = call(name, norm_case(3, 96, x))
    for one, other in zip(clean["out"], dirty["out"], strict=True):
        assert np.isnan(other[1, 37]) and one[[0, 2]].tobytes() == other[[0, 2]].tobytes()


# -- int8 blocks


def blocks_at_the_edge() -> np.ndarray:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((64, 256)) * 10.0 ** rng.integers(-44, 38, (64, 1))).astype(np.float32)
    x[0], x[1], x[2, 5], x[3] = 0, -0.0, 3.4e38, np.arange(-128, 128) / 2  # codes that lie halfway
    x[4], x[5, ::2], x[6] = 1e-45, 1e-44, -1e-42
    x[7, 40], x[8, 40], x[9, [3, 40]] = np.inf, -np.inf, [np.nan, np.inf]
    return x


def test_int8_blocks_are_the_references_to_the_bit():
    x = blocks_at_the_edge()
    with np.errstate(invalid="ignore", over="ignore"):
        want = HostAct8.of(x)
    case = Case("edge", {"x": x}, {"tokens": 64, "cols": 256})
    codes, scales, sums = call("quantize", case, parts=5)["out8"]
    np.testing.assert_array_equal(codes, want.codes)
    np.testing.assert_array_equal(scales, want.scales)  # NaN equals NaN here
    np.testing.assert_array_equal(sums, want.sums)


@pytest.mark.parametrize("name", ["rms_norm_act8", "add_rms_norm_act8"])
def test_fused_norms_round_what_they_write(name):
    case = norm_case(4, 352, activations(4, 352, seed=8))
    got, plain = call(name, case), call(name.removesuffix("_act8"), case)
    np.testing.assert_array_equal(got["out"][0], plain["out"][0])
    want = HostAct8.of(got["out"][0])
    for value, expected in zip(got["out8"], (want.codes, want.scales, want.sums), strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_fused_activations_round_the_plain_ones(activation):
    case = Case("", {"gate_up": activations(2, 2, 5632, seed=1)}, {"tokens": 2, "cols": 5632, "activation": activation})
    fused, plain = call("glu_act8", case)["out8"], call("glu", case)["out"][0]
    want = HostAct8.of(plain.reshape(2, 5632))
    for value, expected in zip(fused, (want.codes, want.scales, want.sums), strict=True):
        np.testing.assert_array_equal(value, expected)


# -- activations


def range_case(activation: int) -> Case:
    x = np.concatenate([np.linspace(-120, 120, 20_001), [np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-45]])
    return Case("range", {"x": x.astype(np.float32)}, {"n": x.size, "activation": activation})


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_activations_over_their_whole_range(activation):
    case = range_case(activation)
    x = case.operands["x"]
    with np.errstate(all="ignore"):
        want = OPS["activate"].reference(x, **case.params).astype(np.float32)  # (3e38)³ is infinite in float32 too
        got = call("activate", case)["x"][0]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


# -- softmax and argmax


def softmax_case(x: np.ndarray, scale: float = 1.0) -> Case:
    return Case("softmax", {"x": x}, {"rows": len(x), "cols": x.shape[1], "scale": scale})


@pytest.mark.parametrize("scale", [1.0, 0.0, -0.7, 3.0])
@pytest.mark.parametrize("cols", [1, 17, 1000, 151_936])
def test_probabilities_sum_to_one(cols, scale):
    case = softmax_case(activations(2, cols, seed=cols), scale)
    (got,) = call("softmax", case)["out"]
    judge("softmax", case, {"out": [got]})
    np.testing.assert_allclose(got.sum(axis=1, dtype=np.float64), 1, atol=1e-6)


def broken_rows() -> Case:
    x = activations(6, 70, seed=1)
    x[0, 3:], x[1], x[2, 5], x[3, 69], x[4] = -np.inf, -np.inf, np.nan, np.inf, 1e30
    return softmax_case(x)


def test_masked_and_broken_rows():
    case = broken_rows()
    with np.errstate(invalid="ignore"):
        judge("softmax", case, call("softmax", case))


@pytest.mark.parametrize("cols", [1, 5, 16, 511, 512, 513, 1500, 151_936])
def test_the_first_of_the_largest(cols):
    rng = np.random.default_rng(cols)
    x = rng.integers(-9, 9, (40, cols)).astype(np.float32)
    x[1], x[2], x[3] = -np.inf, 0, -0.0
    x[3, cols // 2] = 0.0  # equal to -0.0
    for r in range(4, 12):
        x[r, rng.integers(0, cols, 3)] = np.nan
        x[r, rng.integers(0, cols)] = np.inf
    for r in range(12, 16):
        x[r, rng.integers(0, cols, 3)] = np.inf
    x[16] = -x[16] - 1e30
    case = Case("", {"x": x}, {"rows": 40, "cols": cols})
    np.testing.assert_array_equal(call("argmax", case, parts=3)["out"][0], np.argmax(x, axis=1))


# -- rows by index


def test_every_part_checks_its_own_index_rows():
    from cpu_fallback.embedding import embedding
    from cpu_fallback.gather_rows import gather_rows

    scratch, index = np.zeros(SCRATCH, np.float32), index_array([0] * 8, outputs=range(8))
    index[5, 3], index[6, 0] = 8, 4
    x, out = activations(8, 33, seed=1), np.zeros((8, 33), np.float32)
    assert [gather_rows(x, index, out, 8, 8, 33, part, 2, scratch) for part in range(2)] == [0, 6]
    np.testing.assert_array_equal(out[:4], x[:4])
    assert not out[4:].any()
    assert gather_rows(x, index, out, 7, 8, 33, 0, 1, scratch) == -1
    w = activations(4, 33, seed=2)
    twin = embedding.twin(quants.get_format("F32").ggml_type)
    assert [twin(index, w.view(np.uint8).reshape(-1), out, 8, 4, 33, 0, part, 4, scratch) for part in range(4)] == [
        0, 0, 0, 7,
    ]  # fmt: skip
    np.testing.assert_array_equal(out[:6], w[[0] * 6])


def test_an_add_of_contradicting_sizes_is_refused():
    from cpu_fallback.add import add

    scratch, x = np.zeros(SCRATCH, np.float32), np.zeros(8, np.float32)
    assert add(x, x, 8, 3, 0, 1, scratch) == -1 and add(x, x, 8, 0, 0, 1, scratch) == -1


# -- variants (tests/test_cpu_variants.py does the same with the contracts' cases)


def digest() -> str:
    """Of what the twins make of values at the edge, every NaN alike."""
    results = [call("quantize", Case("", {"x": blocks_at_the_edge()}, {"tokens": 64, "cols": 256}))["out8"]]
    results += [call("activate", range_case(code))["x"] for code in ACTIVATIONS.values()]
    results += [call("softmax", broken_rows())["out"]]
    results += [call("layer_norm", norm_case(3, 2001, activations(3, 2001, seed=7) + np.float32(1000)))["out"]]
    out = hashlib.sha256()
    for array in (each for group in results for each in group):
        out.update(np.where(array != array, np.float32(0.125), array).tobytes())
    return out.hexdigest()


@pytest.mark.parametrize("name", ["avx512vnni", "avxvnni", "avx2"])
def test_variants_agree_at_the_edge(name):
    if name not in variant.possible() or variant.ACTIVE == "generic":
        pytest.skip(f"this CPU cannot run {name}, or is not asked to")
    environ = child_environ(WGPU_INFER_CPU=name, PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    code = "import test_cpu_elementwise as t; print(t.variant.ACTIVE, t.digest())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.stdout.split() == [name, digest()], done.stderr
