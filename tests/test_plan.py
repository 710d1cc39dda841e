"""The plan of activations' memory: nothing needed is overwritten, and a pass computes as with memory for everything."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_model import write_tiny

import wgpu_infer as wi
from tools.made_shapes import SHAPES
from tools.make_model import make_model
from wgpu_infer.backends.base import Act8
from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.models.plan import Place, allocate, plan, planned


def op(*accesses: str):
    return SimpleNamespace(operands=[SimpleNamespace(access=access) for access in accesses])


COPY, ADD = op("r", "w"), op("rw", "r")


def arrays(*sizes: int):
    return [planned((size,), f"{i}") for i, size in enumerate(sizes)]


def labels(places: list[Place]) -> list[list[str]]:
    return [[handle.label for handle in place.handles] for place in places]


def test_a_chain_takes_two_places():
    a, b, c, d = arrays(4, 8, 2, 6)
    calls = [(COPY, (a, b)), (COPY, (b, c)), (COPY, (c, d))]
    assert labels(plan(calls)) == [["1", "3"], ["0", "2"]]


def test_what_one_op_touches_never_shares():
    a, b = arrays(4, 4)
    assert labels(plan([(COPY, (a, b))])) == labels(plan([(ADD, (a, b))])) == [["0"], ["1"]]


def test_a_value_needed_later_is_left_alone():
    a, b, c = arrays(4, 4, 4)
    assert len(plan([(COPY, (a, b)), (COPY, (b, c)), (COPY, (a, c))])) == 3


def test_names_that_are_written_anew_are_free_in_between():
    a, b, c = arrays(4, 4, 4)
    calls = [(COPY, (a, b)), (COPY, (b, c)), (COPY, (c, a)), (COPY, (a, b))]
    assert labels(plan(calls)) == [["0"], ["1"], ["2"]]
    calls = [(COPY, (a, b)), (COPY, (b, a)), (COPY, (a, c)), (COPY, (c, a))]
    assert labels(plan(calls)) == [["0"], ["1", "2"]]


def test_parts_written_one_after_the_other_are_one_value():
    a, b, c = arrays(4, 4, 4)
    calls = [(COPY, (a, b)), (COPY, (a, c)), (COPY, (a, b)), (COPY, (b, a))]
    assert len(plan(calls)) == 3, "the first part of b is not to be lost to c"


def test_kept_names_and_names_with_memory():
    a, b, c, d = arrays(4, 4, 4, 4)
    c.payload = "there"
    places = plan([(COPY, (a, b)), (COPY, (b, c)), (COPY, (c, d))], kept=[a])
    assert labels(places) == [["0"], ["1", "3"]]


def test_kinds_do_not_mix():
    a, b, c = arrays(4, 4, 4)
    c.dtype = np.dtype(np.uint32)
    x, y, z = Act8(2, 32, None, "x"), Act8(2, 32, None, "y"), Act8(1, 64, None, "z")
    calls = [(COPY, (h, h)) for h in (a, c, x, z)] + [(COPY, (b, b)), (COPY, (y, y))]
    assert sorted(labels(plan(calls))) == [["0", "1"], ["2"], ["x", "y"], ["z"]]


@pytest.mark.parametrize("seed", range(20))
def test_every_read_finds_what_was_written(seed):
    """Random programs run on the planned places, each value a mark of its write."""
    rng = np.random.default_rng(seed)
    handles = arrays(*(int(n) for n in rng.integers(1, 50, 20)))
    calls, written = [], [handles[0]]
    for _ in range(60):
        source, target = written[-min(len(written), rng.integers(1, 5))], handles[rng.integers(1, 20)]
        if source is not target:
            calls.append((COPY, (source, target)))
            written.append(target)
    places = plan(calls, kept=handles[:1])
    place_of = {handle: i for i, place in enumerate(places) for handle in place.handles}
    memory, truth = {place_of[handles[0]]: -1}, {handles[0]: -1}
    for mark, (_, (source, target)) in enumerate(calls):
        assert memory[place_of[source]] == truth[source]
        memory[place_of[target]] = truth[target] = mark
    assert memory[place_of[handles[0]]] == -1 and len(places) < 15


def test_allocation_is_of_the_largest():
    a, b, c = arrays(4, 8, 2)
    x = Act8(2, 32, None, "x")
    backend = ReferenceBackend()
    allocate(backend, plan([(COPY, (a, b)), (COPY, (b, c)), (COPY, (c, x))]))
    assert a.payload is c.payload and a.payload.size == 4 and b.payload.size == 8 and x.payload.shape == (2, 32)
    assert backend.memory().used == 4 * 12 + 2 * 32 + 4 * 2


SHARED = ["tiny-llama", "tiny-qwen2", "tiny-qwen3", "tiny-phi2"]


@pytest.mark.parametrize("shape", SHARED)
def test_a_pass_computes_as_with_memory_for_everything(shape, tmp_path, monkeypatch):
    assert {SHAPES[name].arch for name in SHARED} == {shape.arch for shape in SHAPES.values()}
    path = tmp_path / "model.gguf"
    make_model(shape, "Q4_K_M", path)
    ids, results, used = [1, 5, 200, 31, 7, 9, 300, 2], [], []
    for share in (True, False):
        if not share:
            monkeypatch.setattr(Place, "fits", lambda *_: False)
        with wi.LLM(path, device="cpu", context=64) as llm:
            tokens = llm.generate(ids, wi.SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True)).token_ids
            results.append((llm.logits(ids + tokens), tokens))
            used.append(llm.memory().used)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1] and used[0] < 0.8 * used[1]


def test_a_tiny_model_verifies(tmp_path):
    """The witness plans for itself, from the same calls."""
    with wi.LLM(write_tiny(tmp_path / "tiny.gguf"), device="cpu") as llm:
        assert llm.verify(steps=2, witness="reference").agrees
