"""The angle table against transformers' own rope initialisations, and llama.cpp's convention of factors."""

from __future__ import annotations

import numpy as np
import pytest

from wgpu_infer.models.config import RopeScaling
from wgpu_infer.models.rope_table import frequencies, rope_table


def test_plain():
    table = rope_table(5, 8, 10000.0, RopeScaling())
    assert table.shape == (5, 4, 2)
    np.testing.assert_allclose(table[3, 1], [np.cos(3 * 10000 ** (-2 / 8)), np.sin(3 * 10000 ** (-2 / 8))], rtol=1e-6)


def test_linear_and_ntk():
    linear = rope_table(9, 8, 10000.0, RopeScaling("linear", 4.0))
    np.testing.assert_allclose(linear[8], rope_table(9, 8, 10000.0, RopeScaling())[2], rtol=1e-6)
    got, _ = frequencies(128, 10000.0, RopeScaling("ntk", 2.0))
    want = (10000.0 * 2.0 ** (128 / 126)) ** (-np.arange(64) * 2 / 128)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def hf_config(scaling, head_dim=64, base=10000.0, context=4096):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    return transformers.LlamaConfig(
        hidden_size=head_dim * 2,
        num_attention_heads=2,
        max_position_embeddings=context,
        rope_parameters={"rope_theta": base, **scaling},
        rope_scaling={"rope_theta": base, **scaling},
        rope_theta=base,
    )


def test_yarn_equals_transformers():
    config = hf_config({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}, context=16384)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    want, magnitude = ROPE_INIT_FUNCTIONS["yarn"](config, "cpu")
    got, got_magnitude = frequencies(64, 10000.0, RopeScaling("yarn", 4.0, 4096))
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5)
    assert got_magnitude == pytest.approx(magnitude, rel=1e-6)


def test_frequency_factors_equal_llama3_scaling():
    """Converters write llama 3's scaling as factors: unscaled frequency / scaled frequency."""
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = hf_config(scaling, base=500000.0, context=131072)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    want = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].numpy().astype(np.float64)
    factors = frequencies(64, 500000.0, RopeScaling())[0] / want
    assert factors.max() == pytest.approx(8.0, rel=1e-5) and factors.min() == pytest.approx(1.0, rel=1e-5)
    got, _ = frequencies(64, 500000.0, RopeScaling(), factors)
    np.testing.assert_allclose(got, want, rtol=1e-12)
