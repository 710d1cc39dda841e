"""attention_reduce_act8: attention_reduce straight to int8 blocks; head_dim is a multiple of 32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from wgpu_infer.contracts import attention_reduce, bounds
from wgpu_infer.contracts.contract import Case, Op, act8
from wgpu_infer.contracts.host import HostAct8


def reference(*operands: np.ndarray, **params: Any) -> HostAct8:
    """attention_reduce's operands -> act8 (tokens, heads · head_dim)."""
    out = attention_reduce.reference(*operands, **params)
    return HostAct8.of(out.astype(np.float32).reshape(len(out), -1))


def cases() -> Iterator[Case]:
    for case in attention_reduce.cases():
        width = case.params["heads"] * case.params["head_dim"]
        yield Case(case.id, case.operands, {**case.params, "width": width})


OP = Op(
    name="attention_reduce_act8",
    operands=(*attention_reduce.OP.operands[:-1], act8("out8", "tokens", "width", access="w")),
    params=np.dtype([*attention_reduce.OP.params.descr, ("width", "<u4")]),
    reference=reference,
    bound=bounds.act8_scale,
    groups=attention_reduce.OP.groups,
    cases=cases,
    constants=attention_reduce.OP.constants,
)
