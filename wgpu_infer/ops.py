"""wi.ops: single ops on numpy arrays, numpy (float32) out. `scheduler()` is the HybridScheduler behind them all.

Each call runs on the CPU or the GPU, whichever the measured costs of this machine predict to be faster.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from wgpu_infer.checks import number, whole
from wgpu_infer.contracts.contract import PAGE_SLOTS, ceil_div
from wgpu_infer.contracts.glu import ACTIVATIONS
from wgpu_infer.contracts.host import HostKV, HostWeight
from wgpu_infer.contracts.table import OPS
from wgpu_infer.errors import ParameterError
from wgpu_infer.formats import quants
from wgpu_infer.models.config import RopeScaling
from wgpu_infer.models.rope_table import rope_table
from wgpu_infer.scheduler import HybridScheduler

MATVEC_TOKENS = 8  # up to so many rows of x take matvec
MAX_FLOAT = float(np.finfo(np.float32).max)
MAX_POSITION = 1 << 31

_scheduler: HybridScheduler | None = None
_lock = threading.RLock()


def scheduler() -> HybridScheduler:
    """The scheduler that routes these ops, opened at first use."""
    global _scheduler
    with _lock:
        if _scheduler is None:
            _scheduler = HybridScheduler()
        return _scheduler


def use(new: HybridScheduler | None) -> None:
    """Routes the ops through another scheduler; None opens a fresh one at next use."""
    global _scheduler
    with _lock:
        _scheduler = new


def quantize(w: ArrayLike, format: str) -> HostWeight:
    """w (out, in) as quantised blocks for `matmul`. UnsupportedError for formats that cannot be written."""
    values = floats("w", w, 2)
    return HostWeight(quants.quantize(values, format), format, *values.shape)


def matmul(x: ArrayLike, w: ArrayLike | HostWeight) -> np.ndarray:
    """x @ w.T: x (…, in), w (out, in) or a quantised weight -> (…, out)."""
    weight = w if isinstance(w, HostWeight) else quantize(w, "F32")
    values = floats("x", x)
    if not values.ndim or values.shape[-1] != weight.cols:
        raise ParameterError(f"matmul: x has shape {values.shape}, but w has {weight.cols} columns")
    rows = values.reshape(-1, weight.cols)
    op = "matvec" if len(rows) <= MATVEC_TOKENS else "matmul"
    sizes = {"tokens": len(rows), "rows": weight.rows, "cols": weight.cols, "row0": 0, "stride": weight.rows}
    return call(op, {"x": rows, "w": weight}, sizes).reshape(*values.shape[:-1], weight.rows)


def softmax(x: ArrayLike, scale: float = 1.0) -> np.ndarray:
    """exp(x · scale) over the last axis, divided by its sum; x (…, n) -> (…, n)."""
    values = floats("x", x)
    rows, cols = split("softmax", values)
    sizes = {"rows": rows, "cols": cols, "scale": number("scale", scale, -MAX_FLOAT, MAX_FLOAT)}
    return call("softmax", {"x": values}, sizes).reshape(values.shape)


def rms_norm(x: ArrayLike, gain: ArrayLike, eps: float = 1e-5) -> np.ndarray:
    """Each row of x (…, n) divided by its root mean square, times gain (n)."""
    values, gain = floats("x", x), vector("gain", gain, x)
    rows, dim = split("rms_norm", values)
    sizes = {"rows": rows, "dim": dim, "eps": number("eps", eps, 0, 1)}
    out = call("rms_norm", {"x": values, "gain": gain}, sizes)
    return out.reshape(values.shape)


def layer_norm(x: ArrayLike, gain: ArrayLike, bias: ArrayLike, eps: float = 1e-5) -> np.ndarray:
    """Each row of x (…, n) normalised to mean 0 and deviation 1, times gain (n) plus bias (n)."""
    values = floats("x", x)
    rows, dim = split("layer_norm", values)
    operands = {"x": values, "gain": vector("gain", gain, x), "bias": vector("bias", bias, x)}
    sizes = {"rows": rows, "dim": dim, "eps": number("eps", eps, 0, 1)}
    return call("layer_norm", operands, sizes).reshape(values.shape)


def glu(gate: ArrayLike, up: ArrayLike, activation: str = "silu") -> np.ndarray:
    """activation(gate) · up; activation: silu, gelu, gelu_tanh or relu2."""
    a, b = floats("gate", gate), floats("up", up)
    if a.shape != b.shape:
        raise ParameterError(f"glu: gate has shape {a.shape} but up has {b.shape}")
    sizes = {"tokens": 1, "cols": a.size, "activation": activation_code(activation)}
    return call("glu", {"gate_up": np.stack([a.reshape(-1), b.reshape(-1)])}, sizes).reshape(a.shape)


def activate(x: ArrayLike, activation: str = "silu") -> np.ndarray:
    """activation(x); activation: silu, gelu, gelu_tanh or relu2."""
    values = floats("x", x)
    return call("activate", {"x": values}, {"n": values.size, "activation": activation_code(activation)}).reshape(
        values.shape
    )


def add(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """x + y, where y has x's shape or that of x's last axes."""
    a, b = floats("x", x), floats("y", y)
    if a.shape[a.ndim - b.ndim :] != b.shape or not b.size:
        raise ParameterError(f"add: y has shape {b.shape}, which is not the end of x's {a.shape}")
    return call("add", {"x": a, "y": b}, {"n": a.size, "period": b.size}).reshape(a.shape)


def argmax(x: ArrayLike) -> np.ndarray:
    """uint32 position of the largest value along the last axis; the smallest position among equals."""
    values = floats("x", x)
    rows, cols = split("argmax", values)
    return call("argmax", {"x": values}, {"rows": rows, "cols": cols}).reshape(values.shape[:-1])


def rope(x: ArrayLike, base: float = 10000.0, interleaved: bool = False, start: int = 0) -> np.ndarray:
    """Rotary embedding of x (tokens, heads, head_dim) at positions start, start + 1, …"""
    values = floats("x", x, 3)
    tokens, heads, head_dim = values.shape
    if head_dim % 2:
        raise ParameterError(f"rope: the head dimension must be even, not {head_dim}")
    base, start = number("base", base, 0, MAX_FLOAT, above=True), whole("start", start, 0, MAX_POSITION)
    table = rope_table(tokens, head_dim, base, RopeScaling(), start=start)
    sizes = {"tokens": tokens, "heads": heads, "head_dim": head_dim, "rot": head_dim}
    sizes |= {"positions": tokens, "half": head_dim // 2, "interleaved": int(bool(interleaved))}
    return call("rope", {"x": values, "index": positions(0, tokens), "table": table}, sizes).reshape(values.shape)


def attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, window: int = 0, softcap: float = 0.0, alibi: float = 0.0
) -> np.ndarray:
    """Causal attention: q (tokens, heads, head_dim), k and v (keys, kv_heads, head_dim), keys >= tokens.

    The last token sees all keys. heads is a multiple of kv_heads; scores are divided by sqrt(head_dim).
    window w > 0: a token sees the last w keys only. softcap c > 0: scores become c·tanh(score / c).
    alibi a > 0: scores fall with the key's distance, by ALiBi's slopes from 2^(-a/heads) to 2^-a (8 is usual).
    """
    q, k, v = floats("q", q, 3), floats("k", k, 3), floats("v", v, 3)
    (tokens, heads, head_dim), (keys, kv_heads, _) = q.shape, k.shape
    if k.shape != v.shape or k.shape[2] != head_dim or heads % max(kv_heads, 1) or keys < tokens:
        raise ParameterError(f"attention: q {q.shape}, k {k.shape} and v {v.shape} do not fit together")
    pages = ceil_div(keys, PAGE_SLOTS)
    kv = HostKV.zeros(pages, kv_heads, head_dim, np.arange(pages, dtype=np.uint32)[None], "f32")
    at = np.arange(keys)
    kv.k[at // PAGE_SLOTS, :, at % PAGE_SLOTS] = k
    kv.v[at // PAGE_SLOTS, :, at % PAGE_SLOTS] = v
    sizes = {"tokens": tokens, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "table_width": pages}
    sizes |= {"window": whole("window", window, 0, MAX_POSITION), "softcap": number("softcap", softcap, 0, MAX_FLOAT)}
    sizes |= {"scale": head_dim**-0.5, "alibi": number("alibi", alibi, 0, MAX_FLOAT)}
    sizes |= {"stride": heads * head_dim, "sink_size": 0}
    operands = {"q": q, "index": positions(keys - tokens, tokens), "sinks": np.empty(0, np.float32), "kv": kv}
    return call("attention", operands, sizes).reshape(q.shape)


def call(op: str, operands: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    with _lock:
        return scheduler().call(OPS[op], operands, params)[0]


def positions(start: int, tokens: int) -> np.ndarray:
    """(tokens, 4) index rows of one sequence."""
    index = np.zeros((tokens, 4), np.uint32)
    index[:, 2] = start + np.arange(tokens)
    return index


def floats(name: str, values: Any, ndim: int | None = None) -> np.ndarray:
    """A contiguous float32 array; ParameterError for what is not numbers or has another number of axes."""
    try:
        if np.iscomplexobj(values):
            raise TypeError("it is complex")
        array = np.asarray(values, np.float32, order="C")
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be an array of real numbers: {error}") from error
    if not array.size or (ndim is not None and array.ndim != ndim):
        axes = "" if ndim is None else f" of {ndim} axes"
        raise ParameterError(f"{name} must be a non-empty array{axes}; its shape is {np.shape(values)}")
    return array


def vector(name: str, values: Any, x: Any) -> np.ndarray:
    array = floats(name, values, 1)
    if array.shape != np.shape(x)[-1:]:
        raise ParameterError(f"{name} has {array.size} elements, but x's last axis has {np.shape(x)[-1:]}")
    return array


def split(op: str, x: np.ndarray) -> tuple[int, int]:
    """Rows and columns of an array taken as rows of its last axis."""
    if not x.ndim:
        raise ParameterError(f"{op}: x must have at least one axis")
    return x.size // x.shape[-1], x.shape[-1]


def activation_code(name: str) -> int:
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ParameterError(f"activation {name!r:.60} is not known; allowed: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
