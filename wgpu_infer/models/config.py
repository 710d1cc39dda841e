"""A model's sizes, read from GGUF metadata and checked before anything is built on them."""

from __future__ import annotations

from dataclasses import dataclass

from wgpu_infer.errors import ModelFormatError
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.models.archs import ARCHS, Arch

MAX_DIM = 1 << 20  # far beyond any model; keeps products of sizes harmless


@dataclass(frozen=True)
class RopeScaling:
    """How positions beyond the trained ones are mapped. `kind`: none, linear, ntk or yarn; `factor` >= 1 stretches."""

    kind: str = "none"
    factor: float = 1.0
    original_context: int = 0
    extrapolation: float = 1.0  # YaRN: 1 mixes in unscaled high frequencies, 0 does not
    attention: float = 1.0  # YaRN: further factor on the magnitude
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a decoder: `dim` the residual stream, `hidden` the feed-forward, `rot` the rotated part of a head."""

    arch: Arch
    layers: int
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    context: int
    eps: float
    rot: int
    rope_base: float
    rope_scaling: RopeScaling

    @property
    def q_dim(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        return self.kv_heads * self.head_dim

    @classmethod
    def from_gguf(cls, gguf: GGUF) -> ModelConfig:
        """ModelFormatError where metadata is missing, of the wrong type, out of range or contradictory."""
        arch = find_arch(gguf)
        reader = _Reader(gguf, arch.name)
        reader.refuse_experts()
        heads = reader.count("attention.head_count")
        kv_heads = reader.count("attention.head_count_kv", default=heads)
        reader.check(heads % kv_heads == 0, "attention.head_count_kv", f"{kv_heads} does not divide head_count {heads}")
        dim = reader.count("embedding_length")
        head_dim = reader.head_dim(dim, heads)
        rot = reader.count("rope.dimension_count", default=head_dim)
        reader.check(rot % 2 == 0 and rot <= head_dim, "rope.dimension_count", f"{rot} must be even, <= {head_dim}")
        return cls(
            arch=arch,
            layers=reader.count("block_count", maximum=len(gguf.tensors)),
            dim=dim,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            hidden=reader.count("feed_forward_length"),
            vocab=reader.vocab(),
            context=reader.count("context_length", maximum=1 << 31),
            eps=reader.positive(arch.eps_key, maximum=1.0),
            rot=rot,
            rope_base=reader.positive("rope.freq_base", default=10000.0),
            rope_scaling=reader.rope_scaling(),
        )


def find_arch(gguf: GGUF) -> Arch:
    """The row of the file's architecture; ModelFormatError naming it and the known ones otherwise."""
    known = ", ".join(ARCHS)
    if "general.architecture" not in gguf.metadata:
        raise gguf.fault(f"the file has no general.architecture; known architectures: {known}")
    name = gguf.get_str("general.architecture")
    if name not in ARCHS:
        raise gguf.fault(f"architecture {name[:64]!r} is not supported; known: {known}", "general.architecture")
    return ARCHS[name]


class _Reader:
    """Reads `<arch>.<key>` and words the faults."""

    def __init__(self, gguf: GGUF, arch: str):
        self.gguf, self.arch = gguf, arch

    def count(self, key: str, default: int | None = None, maximum: int = MAX_DIM) -> int:
        key = f"{self.arch}.{key}"
        if default is not None and key not in self.gguf.metadata:
            return default
        return self.gguf.get_int(key, minimum=1, maximum=maximum)

    def positive(self, key: str, default: float | None = None, maximum: float = 1e12) -> float:
        full = f"{self.arch}.{key}"
        if default is not None and full not in self.gguf.metadata:
            return default
        value = self.gguf.get_float(full, maximum=maximum)
        self.check(value > 0, key, f"{value} must be above 0")
        return value

    def check(self, holds: bool, key: str, reason: str) -> None:
        if not holds:
            raise self.fault(key, reason)

    def fault(self, key: str, reason: str) -> ModelFormatError:
        full = f"{self.arch}.{key}"
        return self.gguf.fault(f"{full}: {reason}", full)

    def head_dim(self, dim: int, heads: int) -> int:
        if f"{self.arch}.attention.key_length" not in self.gguf.metadata:
            self.check(dim % heads == 0, "attention.head_count", f"{heads} does not divide embedding_length {dim}")
        key = self.count("attention.key_length", default=dim // heads or 1)
        value = self.count("attention.value_length", default=key)
        self.check(key == value, "attention.value_length", f"{value} differs from key_length {key}; not supported")
        return key

    def vocab(self) -> int:
        """Rows of the embedding; the tokenizer's list must agree with them where the file has one (G33)."""
        if "token_embd.weight" not in self.gguf.tensors:
            raise self.gguf.fault("the tensor token_embd.weight is missing")
        shape = self.gguf.tensors["token_embd.weight"].shape
        rows = shape[0] if len(shape) == 2 else 0
        tokens = self.gguf.get_strings("tokenizer.ggml.tokens", default=None)
        if rows < 1 or (tokens is not None and len(tokens) != rows):
            given = "none" if tokens is None else len(tokens)
            raise self.gguf.fault(
                f"token_embd.weight has shape {tuple(shape)} but the vocabulary has {given} tokens",
                "tokenizer.ggml.tokens",
            )
        return rows

    def refuse_experts(self) -> None:
        experts = self.gguf.get_int(f"{self.arch}.expert_count", default=0, minimum=0)
        used = self.gguf.get_int(f"{self.arch}.expert_used_count", default=0, minimum=0)
        self.check(used <= experts, "expert_used_count", f"{used} is more than expert_count {experts}")
        self.check(experts == 0, "expert_count", f"{experts} experts: mixture-of-experts models are not supported yet")

    def rope_scaling(self) -> RopeScaling:
        stated = self.gguf.get_str(f"{self.arch}.rope.scaling.type", default=None)
        kind = "none" if stated is None else stated
        self.check(
            kind in ("none", "linear", "yarn"), "rope.scaling.type", f"{kind[:32]!r} is not none, linear or yarn"
        )
        legacy = self.positive("rope.scale_linear", default=1.0)
        factor = self.positive("rope.scaling.factor", default=legacy)
        if stated is None and factor != 1.0:
            kind = "linear"  # as older files state it: a factor without a type
        return RopeScaling(
            kind=kind,
            factor=factor,
            original_context=self.count("rope.scaling.original_context_length", default=self.count("context_length")),
            extrapolation=self.positive("rope.scaling.yarn_ext_factor", default=1.0),
            attention=self.positive("rope.scaling.attn_factor", default=1.0),
            beta_fast=self.positive("rope.scaling.yarn_beta_fast", default=32.0),
            beta_slow=self.positive("rope.scaling.yarn_beta_slow", default=1.0),
        )
