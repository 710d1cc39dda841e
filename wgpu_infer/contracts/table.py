"""All ops, one file each; the file's name is the op's name."""

from __future__ import annotations

from wgpu_infer.contracts import (
    activate,
    add,
    add_rms_norm,
    argmax,
    attention,
    embedding,
    gather_rows,
    glu,
    kv_write,
    layer_norm,
    matmul,
    matvec,
    rms_norm,
    rope,
    softmax,
)
from wgpu_infer.contracts.contract import Op

OPS: dict[str, Op] = {
    module.OP.name: module.OP
    for module in (
        embedding,
        matvec,
        matmul,
        rms_norm,
        add_rms_norm,
        layer_norm,
        rope,
        kv_write,
        attention,
        glu,
        activate,
        add,
        gather_rows,
        softmax,
        argmax,
    )
}
