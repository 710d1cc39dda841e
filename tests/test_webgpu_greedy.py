"""200 greedy tokens on WebGPU against the reference, in every format of the small models: float and int8 products.

The reference is shown what WebGPU wrote and says what it would have picked at each step; so a difference counts once,
not for all that follows it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from test_embedded import FORMATS, derived  # noqa: F401 (a fixture)

from wgpu_infer import LLM, SamplingParams
from wgpu_infer.backends.webgpu.backend import WebGPUBackend

TOKENS, LEAST_ALIKE = 200, 0.96
FLOATS = ("f32", "F16")
STORIES = sorted(path.stem for path in (SHARED / "models").glob("stories260K-*.gguf")) or ["stories260K-Q4_0"]
MODELS = [*STORIES, *(f"embedded-{name}" for name in FORMATS)]


@pytest.fixture
def model(request, shared, derived) -> Path:  # noqa: F811
    name = request.param
    if name.startswith("embedded-"):
        return derived(name.removeprefix("embedded-"))
    return shared("models", f"{name}.gguf")


def picks(path: Path, backend: WebGPUBackend) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What the backend (closed afterwards) picked and the reference would have, (TOKENS,), and their logits there."""
    with LLM(path, device=backend, context=TOKENS + 16) as llm:
        prompt = llm.tokenizer.encode("Once upon a time", add_special=True)
        params = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
        ids = prompt + llm.generate(prompt, params).token_ids
        got = llm.logits(ids)[len(prompt) - 1 : -1]
    with LLM(path, device="reference", context=TOKENS + 16) as llm:
        want = llm.logits(ids)[len(prompt) - 1 : -1]
    assert len(want) == TOKENS
    return np.array(ids[len(prompt) :]), want.argmax(-1), got, want


@pytest.mark.webgpu
@pytest.mark.shared
@pytest.mark.parametrize("model", MODELS, indirect=True)
def test_float_products_pick_the_references_tokens(model, webgpu):
    backend = WebGPUBackend(lowered={"packed_dot": False})
    assert not backend.can_act8("Q8_0")
    written, wanted, _, _ = picks(model, backend)
    np.testing.assert_array_equal(written, wanted)


@pytest.mark.webgpu
@pytest.mark.shared
@pytest.mark.parametrize("model", [name for name in MODELS if not name.endswith(FLOATS)], indirect=True)
def test_int8_products_pick_them_but_for_near_ties(model, webgpu):
    """Where a pick differs, the reference's two likeliest tokens lie within twice the error of the logits there."""
    backend = WebGPUBackend(lowered={"packed_dot": True})
    assert backend.can_act8("Q8_0")
    written, wanted, got, want = picks(model, backend)
    different = np.flatnonzero(written != wanted)
    assert 1 - len(different) / TOKENS >= LEAST_ALIKE
    margins = np.sort(want[different])[:, -1] - want[different, written[different]]
    assert (margins <= 2 * np.abs(got[different] - want[different]).max(axis=-1, initial=0)).all(), different
