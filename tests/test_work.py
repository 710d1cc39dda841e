"""What calls of ops compute and move, counted by hand."""

from __future__ import annotations

import pytest

from wgpu_infer.contracts.contract import PAGE_SLOTS
from wgpu_infer.contracts.table import OPS
from wgpu_infer.contracts.work import Keys, Work, work

PRODUCT = {"tokens": 3, "rows": 10, "cols": 64, "row0": 0, "stride": 40}
ATTENTION = {"tokens": 1, "heads": 32, "kv_heads": 8, "head_dim": 128, "table_width": 1, "stride": 9999, "sink_size": 0}


def params(op, **given):
    return dict.fromkeys(OPS[op].param_names(), 1) | given


def test_products_read_their_blocks_and_write_their_own_rows():
    out, x = 4 * 3 * 10, 4 * 3 * 64
    assert work(OPS["matvec"], PRODUCT, "Q4_0") == Work(2 * 3 * 10 * 64, x + out + 10 * 2 * 18)
    assert work(OPS["matvec_act8"], PRODUCT, "Q8_0") == Work(2 * 3 * 10 * 64, 3 * 64 * 1.25 + out + 10 * 2 * 34)
    assert work(OPS["matmul"], PRODUCT).nbytes == x + out + 4 * 10 * 64


def test_an_embedding_reads_one_row_a_token():
    sizes = params("embedding", tokens=2, rows=1000, cols=32)
    assert work(OPS["embedding"], sizes, "Q8_0") == Work(0, 2 * 34 + 4 * 2 * 32 + 16 * 2)


def test_attention_counts_the_keys_it_sees():
    sizes = params("attention", **ATTENTION)
    assert work(OPS["attention"], sizes).operations == 2 * 2 * 32 * 128 * PAGE_SLOTS  # no keys said: all of the table
    five = work(OPS["attention"], sizes, "f16", Keys(5))
    assert five.operations == 2 * 2 * 32 * 128 * 5
    assert five.nbytes == 2 * 5 * 8 * 128 * 2 + 2 * 4 * 32 * 128 + 16
    prompt = work(OPS["attention"], sizes | {"tokens": 9}, "f16", Keys(9))
    assert prompt.operations == 9 * five.operations, "the nine tokens see 1 to 9 keys"


def test_what_is_read_and_written_counts_twice():
    sizes = params("add", n=10, period=10)
    assert work(OPS["add"], sizes) == Work(8 * 10, 4 * 30)
    rope = params("rope", tokens=2, heads=3, head_dim=8, positions=4096, half=4)
    assert work(OPS["rope"], rope).nbytes == 2 * 4 * 2 * 3 * 8 + 16 * 2 + 4 * 2 * 4 * 2, "two rows of the table"


@pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
def test_every_op_can_be_counted(op):
    for case in op.cases():
        formats = [getattr(v, "format", getattr(v, "dtype", None)) for v in case.operands.values()]
        fmt = next((f for f in formats if isinstance(f, str)), None)
        counted = work(op, case.params, fmt)
        assert counted.nbytes > 0 and counted.operations >= 0
