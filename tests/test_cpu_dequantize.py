"""Whole weights to float32 on the CPU, against the gguf package."""

from __future__ import annotations

import numpy as np
import pytest

from cpu_fallback import threads
from cpu_fallback.dequantize import dequantize
from wgpu_infer.contracts.cases import random_weight
from wgpu_infer.formats import quants


@pytest.mark.parametrize("name", quants.FORMATS)
def test_a_weight_becomes_what_the_gguf_package_makes_of_it(name):
    gguf = pytest.importorskip("gguf", reason="the extra `test` is not installed")
    rows, cols = 37, 20 if name in ("F32", "F16", "BF16") else 512
    raw, kind = random_weight(name, rows, cols, seed=3).data, quants.get_format(name).ggml_type
    want = gguf.quants.dequantize(raw.reshape(rows, -1), gguf.GGMLQuantizationType(kind)).astype(np.float32)
    for count in (1, min(2, threads.most()), None):
        np.testing.assert_array_equal(dequantize(raw, kind, rows, cols, count), want)


def test_a_weight_without_rows():
    assert dequantize(np.zeros(0, np.uint8), 12, 0, 256).shape == (0, 256)


def test_a_mapped_file_may_be_read_only():
    raw = random_weight("Q4_K", 3, 256, seed=1).data
    want = dequantize(raw, 12, 3, 256)
    raw.flags.writeable = False
    np.testing.assert_array_equal(dequantize(raw, 12, 3, 256), want)
