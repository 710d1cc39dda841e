"""From a GGUF file's tensors to a backend's weights: which tensors an architecture has, their shapes, what is merged.

The tables below are the check: every tensor they require must be there in the stated shape, optional ones only if the
file has them, and what they do not know is warned about and left out. Products of the same input are merged: their
rows lie below each other in one weight as long as their formats are the same, so that one op multiplies them all.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from wgpu_infer.backends.base import Array, Backend, Weight
from wgpu_infer.backends.reference import ReferenceBackend
from wgpu_infer.contracts.host import HostRows, HostStack, HostWeight
from wgpu_infer.errors import ModelFormatError, UnsupportedError
from wgpu_infer.formats import quants
from wgpu_infer.formats.gguf import GGUF
from wgpu_infer.models.archs import Arch
from wgpu_infer.models.config import ModelConfig

Shape = tuple[str, ...]  # sizes by their name in ModelConfig, (rows, cols) or (n,)
Progress = Callable[[int, int], None]  # bytes loaded so far, bytes in all

LAYER: dict[str, Shape] = {
    "attn_norm.weight": ("dim",),
    "attn_q.weight": ("q_dim", "dim"),
    "attn_k.weight": ("kv_dim", "dim"),
    "attn_v.weight": ("kv_dim", "dim"),
    "attn_output.weight": ("dim", "q_dim"),
    "ffn_up.weight": ("hidden", "dim"),
    "ffn_down.weight": ("dim", "hidden"),
}
LAYER_OPTIONAL: dict[str, Shape] = {
    "attn_q.bias": ("q_dim",),
    "attn_k.bias": ("kv_dim",),
    "attn_v.bias": ("kv_dim",),
    "attn_output.bias": ("dim",),
    "ffn_up.bias": ("hidden",),
    "ffn_gate.bias": ("hidden",),
    "ffn_down.bias": ("dim",),
}
MODEL: dict[str, Shape] = {"token_embd.weight": ("vocab", "dim"), "output_norm.weight": ("dim",)}
MODEL_OPTIONAL: dict[str, Shape] = {"output.weight": ("vocab", "dim"), "output.bias": ("vocab",)}
FREQUENCY_FACTORS = "rope_freqs.weight"
MERGED: dict[str, tuple[str, ...]] = {  # what an op reads or writes together: outputs in this order, side by side
    "attn_qkv": ("attn_q", "attn_k", "attn_v"),
    "attn_qk_norm": ("attn_q_norm", "attn_k_norm"),
    "ffn_gate_up": ("ffn_gate", "ffn_up"),
}


def layer_tensors(arch: Arch) -> dict[str, Shape]:
    """The tensors every layer of an architecture must have."""
    out = dict(LAYER)
    if arch.gated:
        out["ffn_gate.weight"] = ("hidden", "dim")
    if not arch.parallel:
        out["ffn_norm.weight"] = ("dim",)
    if arch.qk_norm:
        out |= {"attn_q_norm.weight": ("head_dim",), "attn_k_norm.weight": ("head_dim",)}
    if arch.norm == "layer":
        out |= {name.replace(".weight", ".bias"): s for name, s in out.items() if name.endswith("_norm.weight")}
    return out


def model_tensors(arch: Arch) -> dict[str, Shape]:
    return MODEL | ({"output_norm.bias": ("dim",)} if arch.norm == "layer" else {})


@dataclass(frozen=True)
class Product:
    """The matrices that multiply one input: one weight a run of equal formats, from output column `row0` on."""

    parts: tuple[tuple[Weight, int], ...]

    @property
    def rows(self) -> int:
        """Of all parts."""
        weight, row0 = self.parts[-1]
        return row0 + weight.rows

    @property
    def cols(self) -> int:
        return self.parts[0][0].cols

    @property
    def formats(self) -> list[str]:
        return [weight.format for weight, _ in self.parts]


Group = dict[str, Array | Product]


@dataclass
class Weights:
    """Handles by tensor name: `model["output_norm.weight"]`, `layers[3]["ffn_down.weight"]`, and by MERGED's names:
    `layers[3]["attn_qkv.weight"]`; only those the file has. `embedding` is a table, the other matrices are products."""

    model: Group
    layers: list[Group]
    embedding: Weight
    frequency_factors: np.ndarray | None = None

    def handles(self) -> Iterator[Array | Weight]:
        """Every array and every weight, once."""
        yield self.embedding
        for value in (value for group in (self.model, *self.layers) for value in group.values()):
            if isinstance(value, Product):
                yield from (weight for weight, _ in value.parts if weight is not self.embedding)
            else:
                yield value


@dataclass
class _Loader:
    gguf: GGUF
    config: ModelConfig
    backend: Backend
    progress: Progress
    check_values: bool = False
    used: set[str] = field(default_factory=set)
    done: int = 0

    def load(self) -> Weights:
        arch = self.config.arch
        self.check_all()
        self.backend.expect_weights(self.total)
        table = self.checked("", "token_embd.weight", MODEL["token_embd.weight"])
        embedding = self.upload("token_embd.weight", [table], "output.weight" in self.gguf.tensors)
        self.gguf.release("token_embd.weight")
        model = self.group("", model_tensors(arch), MODEL_OPTIONAL)
        if "output.weight" not in model:
            model["output.weight"] = Product(((embedding, 0),))
        layers = [self.group(f"blk.{i}.", layer_tensors(arch), LAYER_OPTIONAL) for i in range(self.config.layers)]
        weights = Weights(model, layers, embedding, self.factors())
        self.progress(self.total, self.total)  # also where tensors were left out
        self.warn_unused()
        return weights

    def check_all(self) -> None:
        """Every tensor is found and has its shape before the first byte is uploaded."""
        arch = self.config.arch
        prefixes = [(f"blk.{i}.", layer_tensors(arch)) for i in range(self.config.layers)]
        for prefix, required in [("", model_tensors(arch)), *prefixes]:
            for name, shape in required.items():
                self.find(prefix, name, shape)
        self.check_biases()

    def check_biases(self) -> None:
        """A layer has the optional tensors that the other layers have."""
        for name in LAYER_OPTIONAL:
            lacking = [i for i in range(self.config.layers) if not self.has(f"blk.{i}.", name)]
            if 0 < len(lacking) < self.config.layers:
                reason = f"the tensor blk.{lacking[0]}.{name} is missing, which other layers have"
                raise ModelFormatError(reason, self.gguf.path)

    def group(self, prefix: str, required: dict[str, Shape], optional: dict[str, Shape]) -> Group:
        """All but the embedding, products of one input merged."""
        shapes = required | {name: shape for name, shape in optional.items() if self.has(prefix, name)}
        shapes.pop("token_embd.weight", None)
        out: Group = {}
        for name in shapes:
            merged, members = members_of(name, shapes)
            if merged not in out:
                out[merged] = self.tensors(prefix, merged, {n: (required | optional)[n] for n in members}, shapes)
        return out

    def has(self, prefix: str, name: str) -> bool:
        return prefix + name in self.gguf.tensors or prefix + _fused(name) in self.gguf.tensors

    def tensors(
        self, prefix: str, merged: str, members: dict[str, Shape], present: dict[str, Shape]
    ) -> Array | Product:
        """One or several tensors as one vector, zeros where a member is not present, or as one product."""
        if any(len(shape) == 1 for shape in members.values()):
            pieces = [
                self.checked(prefix, n, s).values().reshape(-1)
                if n in present
                else np.zeros(self.sizes(s)[1], np.float32)
                for n, s in members.items()
            ]
            return self.backend.array(np.concatenate(pieces), prefix + merged)
        hosts = {name: self.checked(prefix, name, shape) for name, shape in members.items()}
        parts, row0 = [], 0
        for _, run in itertools.groupby(hosts, lambda name: hosts[name].format):
            names = list(run)
            label = prefix + (merged if len(names) == len(hosts) else "+".join(names))
            weight = self.upload(label, [hosts[name] for name in names])
            parts.append((weight, row0))
            row0 += weight.rows
            for name in names:
                self.gguf.release(prefix + name if prefix + name in self.gguf.tensors else prefix + _fused(name))
        return Product(tuple(parts))

    def checked(self, prefix: str, name: str, shape: Shape) -> HostWeight:
        host = self.find(prefix, name, shape)
        if self.check_values and not is_finite(host):
            raise ModelFormatError(f"the tensor {prefix}{name} holds values that are not finite", self.gguf.path)
        self.done += host.nbytes
        self.progress(self.done, self.total)
        return host

    def upload(self, label: str, hosts: list[HostWeight], rows_only: bool = False) -> Weight:
        host: HostRows = hosts[0] if len(hosts) == 1 else HostStack(tuple(hosts))
        return self.backend.weight(host, label, rows_only)

    @property
    def total(self) -> int:
        return sum(t.nbytes for t in self.gguf.tensors.values())

    def find(self, prefix: str, name: str, shape: Shape) -> HostWeight:
        """The tensor's raw blocks; q, k and v are rows of attn_qkv where the file has fused them."""
        rows, cols = self.sizes(shape)
        if prefix + name in self.gguf.tensors:
            return self.blocks(prefix + name, rows, cols)
        if prefix + _fused(name) in self.gguf.tensors:
            q, kv = self.config.q_dim, self.config.kv_dim
            cut = {"attn_q": (0, q), "attn_k": (q, q + kv), "attn_v": (q + kv, q + 2 * kv)}[name.split(".")[0]]
            if len(shape) == 1:
                return self.blocks(prefix + _fused(name), 1, q + 2 * kv).slice_values(*cut)
            return self.blocks(prefix + _fused(name), q + 2 * kv, cols).slice_rows(*cut)
        raise ModelFormatError(f"the tensor {prefix}{name} is missing", self.gguf.path)

    def sizes(self, shape: Shape) -> tuple[int, int]:
        sizes = [int(getattr(self.config, s)) for s in shape]
        return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])

    def blocks(self, name: str, rows: int, cols: int) -> HostWeight:
        info = self.gguf.tensors[name]
        want = (rows, cols) if rows > 1 or len(info.shape) == 2 else (cols,)
        if tuple(info.shape) != want:
            raise ModelFormatError(
                f"the tensor {name} has shape {tuple(info.shape)}, but the metadata asks for {want}",
                self.gguf.path,
                info.info_offset,
            )
        if info.format not in quants.FORMATS:
            raise UnsupportedError(
                f"{self.gguf.path}: the tensor {name} is in {info.format}; supported: {', '.join(quants.FORMATS)}"
            )
        self.used.add(name)
        return HostWeight(self.gguf.data(name), info.format, rows, cols)

    def factors(self) -> np.ndarray | None:
        if FREQUENCY_FACTORS not in self.gguf.tensors:
            return None
        values = self.blocks(FREQUENCY_FACTORS, 1, self.config.rot // 2).values().reshape(-1).astype(np.float64)
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ModelFormatError(f"{FREQUENCY_FACTORS} holds values that are not above 0", self.gguf.path)
        return values

    def warn_unused(self) -> None:
        unused = [name for name in self.gguf.tensors if name not in self.used]
        if unused:
            warnings.warn(f"{self.gguf.path}: {len(unused)} unknown tensors are ignored: {unused[:5]}", stacklevel=2)


def members_of(name: str, present: Collection[str]) -> tuple[str, list[str]]:
    """The merged tensor a tensor belongs to and all its members, or the tensor itself."""
    stem, kind = name.rsplit(".", 1)
    for merged, stems in MERGED.items():
        if stem in stems and all(f"{other}.weight" in present for other in stems):
            return f"{merged}.{kind}", [f"{other}.{kind}" for other in stems]
    return name, [name]


def _fused(name: str) -> str:
    for part in ("attn_q.", "attn_k.", "attn_v."):
        if name.startswith(part):
            return name.replace(part, "attn_qkv.")
    return name


def _quiet(_done: int, _total: int) -> None:
    pass


def is_finite(host: HostWeight, rows: int = 1024) -> bool:
    """Whether all values of a weight are finite, looked at a piece at a time."""
    pieces = (host.slice_rows(at, min(at + rows, host.rows)) for at in range(0, host.rows, rows))
    return all(np.isfinite(piece.values()).all() for piece in pieces)


def load_weights(
    gguf: GGUF, config: ModelConfig, backend: Backend, progress: Progress = _quiet, check_values: bool = False
) -> Weights:
    """Checks every tensor, then packs and uploads them one by one. ModelFormatError names the tensor at fault.

    check_values: also looks for NaN and infinity in the weights themselves.
    """
    return _Loader(gguf, config, backend, progress, check_values).load()


def products(gguf: GGUF, config: ModelConfig) -> tuple[list[HostWeight], list[HostWeight]]:
    """The matrices that multiply once per token: those of the first layer, and those outside the layers."""
    loader = _Loader(gguf, config, ReferenceBackend(), _quiet)
    layer = [loader.find("blk.0.", n, s) for n, s in layer_tensors(config.arch).items() if len(s) == 2]
    output = "output.weight" if "output.weight" in gguf.tensors else "token_embd.weight"
    return layer, [loader.find("", output, ("vocab", "dim"))]
