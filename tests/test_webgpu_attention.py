"""Attention on the GPU: ranges of keys and what puts them together, tiles of prompts; what must not change a bit."""

from __future__ import annotations

import numpy as np
import pytest
from op_runner import run_case

from wgpu_infer.contracts import attention
from wgpu_infer.contracts.contract import Case
from wgpu_infer.contracts.host import HostAct8
from wgpu_infer.contracts.table import OPS

pytestmark = pytest.mark.webgpu
POSITIONS = [200, 63, 64, 0, 700]


def attend(backend, case, splits, tokens=slice(None), act8=False):
    """Both stages of a case of attention; (tokens, heads · head_dim), or int8 blocks. The ranges' memory is NaN."""
    p, index = case.params, case.operands["index"][tokens]
    n, heads, head_dim = len(index), p["heads"], p["head_dim"]
    host = case.operands["kv"]
    kv = backend.kv(len(host.k), p["kv_heads"], head_dim, backend.array(host.table), host.dtype)
    backend.write_kv(kv, host)
    q, rows = backend.array(case.operands["q"].reshape(p["tokens"], -1)[tokens]), backend.array(index)
    sums = backend.array(np.full((n, heads, splits, head_dim), np.nan, np.float32))
    tops = backend.array(np.full((n, heads, splits, 2), np.nan, np.float32))
    sizes = {name: p[name] for name in OPS["attention_split"].param_names() if name != "splits"} | {"tokens": n}
    backend.run(OPS["attention_split"], q, rows, kv, sums, tops, **sizes, splits=splits)
    sinks = backend.array(case.operands["sinks"] if p["sink_size"] else np.zeros(1, np.float32))
    names = ("heads", "head_dim", "window", "sink_size")
    ends = {name: p[name] for name in names} | {"tokens": n, "splits": splits}
    if act8:
        out8 = backend.act8(n, heads * head_dim)
        backend.run(OPS["attention_reduce_act8"], sums, tops, rows, sinks, out8, **ends, width=heads * head_dim)
        return backend.read_act8(out8, n)
    out = backend.empty((n, heads, head_dim))
    backend.run(OPS["attention_reduce"], sums, tops, rows, sinks, out, **ends)
    return backend.read(out, (n, heads * head_dim))


def bits(values):
    return values.view(np.uint32)


@pytest.mark.parametrize("more", [{}, {"window": 100}, {"softcap": 20.0, "sinks": True}, {"alibi": 8.0}], ids=str)
@pytest.mark.parametrize("dtype, heads, kv_heads, head_dim", [("f16", 8, 2, 64), ("q8_0", 6, 6, 32), ("f32", 9, 1, 80)])
def test_both_stages_are_attention(dtype, heads, kv_heads, head_dim, more, webgpu):
    case = attention.make_case(dtype, heads, kv_heads, head_dim, POSITIONS, **more)
    want = attention.reference(*case.operands.values(), **case.params).reshape(len(POSITIONS), -1)
    got = attend(webgpu, case, 16)
    np.testing.assert_allclose(got, want, rtol=0, atol=attention.bound(case.operands, want, case.params))


def test_neither_room_nor_company_changes_a_bit(webgpu):
    """Alone, in a batch, and with room for more ranges than there are."""
    case = attention.make_case("f16", 8, 2, 64, POSITIONS, window=300)
    want = attend(webgpu, case, 11)
    for splits in (16, 64):
        np.testing.assert_array_equal(bits(attend(webgpu, case, splits)), bits(want))
    for t, position in enumerate(POSITIONS):
        alone = attend(webgpu, case, position // 64 + 1, slice(t, t + 1))
        np.testing.assert_array_equal(bits(alone), bits(want[t : t + 1]))


def test_int8_blocks_are_those_of_the_values(webgpu):
    case = attention.make_case("f16", 8, 2, 96, POSITIONS)
    got, want = attend(webgpu, case, 16, act8=True), HostAct8.of(attend(webgpu, case, 16))
    np.testing.assert_allclose(got.scales, want.scales, rtol=1e-6)
    assert np.abs(got.codes.astype(int) - want.codes).max() <= 1 and (got.codes == want.codes).mean() > 0.999


@pytest.mark.parametrize("heads, kv_heads, head_dim", [(8, 2, 64), (9, 1, 32), (3, 3, 256)])
def test_a_prompt_s_token_is_the_same_alone_and_in_company(heads, kv_heads, head_dim, webgpu):
    """Tiles of rows that hold other tokens, or the ends of two sequences, add the same numbers in the same order."""
    positions = [*range(30, 50), *range(3), *range(90, 101)]
    case = attention.make_case("f16", heads, kv_heads, head_dim, positions, run=20, window=60)
    together = run_case(webgpu, attention.OP, case)["out"][: len(positions) * heads * head_dim]
    for t in (0, 19, 20, 22, 23, 33):
        part = {name: case.operands[name][t : t + 1] for name in ("q", "index")}
        alone = Case("alone", {**case.operands, **part}, {**case.params, "tokens": 1})
        got = run_case(webgpu, attention.OP, alone)["out"][: heads * head_dim]
        np.testing.assert_array_equal(bits(got), bits(together.reshape(len(positions), -1)[t]))


def test_what_lies_behind_a_prompt_s_last_key_cannot_reach_it(webgpu):
    """A page that another sequence left there may hold anything, and 0 times that would be NaN."""
    case = attention.make_case("f32", 4, 2, 32, list(range(40)), run=40)
    want = run_case(webgpu, attention.OP, case)["out"]
    host = case.operands["kv"]
    host.k[:, :, 40:], host.v[:, :, 40:] = np.nan, np.inf
    np.testing.assert_array_equal(bits(run_case(webgpu, attention.OP, case)["out"]), bits(want))
