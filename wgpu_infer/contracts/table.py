"""All ops, one file each; the file's name is the op's name."""

from __future__ import annotations

from wgpu_infer.contracts import (
    activate,
    add,
    add_rms_norm,
    add_rms_norm_act8,
    argmax,
    attention,
    attention_reduce,
    attention_reduce_act8,
    attention_split,
    embedding,
    gather_rows,
    glu,
    glu_act8,
    layer_norm,
    matmul,
    matmul_act8,
    matvec,
    matvec_act8,
    peaks,
    penalise,
    quantize,
    rms_norm,
    rms_norm_act8,
    rope,
    rope_kv_write,
    sample,
    sample_wide,
    softmax,
)
from wgpu_infer.contracts.contract import Op

OPS: dict[str, Op] = {
    module.OP.name: module.OP
    for module in (
        embedding,
        matvec,
        matmul,
        matvec_act8,
        matmul_act8,
        quantize,
        rms_norm,
        add_rms_norm,
        rms_norm_act8,
        add_rms_norm_act8,
        layer_norm,
        rope,
        rope_kv_write,
        attention,
        attention_split,
        attention_reduce,
        attention_reduce_act8,
        glu,
        glu_act8,
        activate,
        add,
        gather_rows,
        softmax,
        argmax,
        penalise,
        peaks,
        sample,
        sample_wide,
    )
}
