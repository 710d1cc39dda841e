"""What a backend is: it holds arrays, weights and KV pages behind opaque handles, and runs ops on them.

Model code only ever passes handles. Values enter by `write` and leave by `read`; in between `run` may do the work at
once (reference, cpu) or queue it (webgpu), so nothing may depend on when an op executes, only on their order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from wgpu_infer.backends.memory import Memory
from wgpu_infer.backends.timing import HostTimer, Timer, Tuned
from wgpu_infer.contracts.contract import Op
from wgpu_infer.contracts.host import HostAct8, HostKV, HostRows
from wgpu_infer.contracts.work import Keys
from wgpu_infer.errors import UnsupportedError


@dataclass(eq=False)
class Array:
    """A dense array on a backend. An op may use a leading part of it, as its parameters say."""

    shape: tuple[int, ...]
    dtype: np.dtype
    payload: Any
    label: str = ""


@dataclass(eq=False)
class Weight:
    """A weight in its file's quantisation, packed as the backend likes it."""

    rows: int
    cols: int
    format: str
    payload: Any
    label: str = ""


@dataclass(eq=False)
class KV:
    """One layer's K and V pages. `table` is the block table array, shared by all layers."""

    pages: int
    kv_heads: int
    head_dim: int
    dtype: str
    table: Array
    payload: Any


@dataclass(eq=False)
class Act8:
    """Activations as int8 blocks, (rows, cols); an op may use the leading rows, as its parameters say."""

    rows: int
    cols: int
    payload: Any
    label: str = ""


Handle = Array | Weight | KV | Act8


def report_nothing(_done: int, _total: int) -> None:
    """Progress that nobody wants to know."""


class Backend(ABC):
    """Runs ops. `name` is what --device calls it."""

    name: str
    compile_progress: Callable[[int, int], None] = staticmethod(report_nothing)  # kernels ready, of all
    tune_progress: Callable[[int, int], None] = staticmethod(report_nothing)  # kernels chosen, of all that can be
    tune_seconds: float = 0.0  # spent on `tune` when a model is loaded
    most_prompt_tokens: int = 128  # of a step: enough to reuse weights, few enough to interrupt
    most_array_bytes: int = 1 << 62  # of one array
    can_run_ahead: bool = False  # steps may be submitted before the picks of those before them are read
    is_software: bool = False  # a GPU that is emulated on the CPU: correct, never faster than the CPU backend

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32, label: str = "") -> Array:
        """A zeroed array of float32 or uint32."""

    @abstractmethod
    def weight(self, host: HostRows, label: str = "", rows_only: bool = False) -> Weight:
        """Packs raw GGUF blocks, piece by piece; never widens them. UnsupportedError where no kernel reads the format.

        rows_only: the weight is a table of which single rows are read (embedding), never a factor.
        """

    @abstractmethod
    def kv(self, pages: int, kv_heads: int, head_dim: int, table: Array, dtype: str) -> KV:
        """Zeroed pages of type f16, f32 or q8_0."""

    @abstractmethod
    def write(self, array: Array, values: np.ndarray) -> None:
        """Copies values into the array's leading elements, before the ops that follow."""

    @abstractmethod
    def read(self, array: Array, shape: tuple[int, ...]) -> np.ndarray:
        """The array's leading elements as a fresh numpy array, after the ops before."""

    def read_later(self, array: Array, shape: tuple[int, ...]) -> Callable[[], np.ndarray]:
        """What `read` gives after the ops before, to be asked for (once) when others have been queued behind them."""
        values = self.read(array, shape)
        return lambda: values

    @abstractmethod
    def run(self, op: Op, *operands: Handle, **params: int | float) -> None:
        """Runs (or queues) one op; operands and params as in its contract."""

    @abstractmethod
    def write_kv(self, kv: KV, host: HostKV) -> None:
        """Sets all pages (not the table)."""

    @abstractmethod
    def read_kv(self, kv: KV) -> HostKV:
        """All pages and the table as numpy values."""

    @abstractmethod
    def missing(self, op: Op, fmt: str | None = None) -> str | None:
        """Why this backend cannot run the op (with that weight format or KV type), or None when it can."""

    @abstractmethod
    def memory(self) -> Memory:
        """What it holds."""

    def expect_weights(self, nbytes: int) -> None:  # noqa: B027 (only some backends lay weights side by side)
        """Says how many bytes of weights are about to come, as they are in their file."""

    def trim(self) -> None:  # noqa: B027 (only some backends keep memory for later)
        """Gives back memory that is kept for later use."""

    def can_act8(self, fmt: str) -> bool:
        """Whether products with weights of this format take int8 activations (matvec_act8, matmul_act8)."""
        return False

    def act8(self, rows: int, cols: int, label: str = "") -> Act8:
        """Zeroed int8 activations; cols a multiple of 32."""
        raise UnsupportedError(f"{self.name} has no int8 activations")

    def write_act8(self, array: Act8, values: HostAct8) -> None:
        """Copies values into the leading rows."""
        raise UnsupportedError(f"{self.name} has no int8 activations")

    def read_act8(self, array: Act8, rows: int) -> HostAct8:
        """The leading rows, after the ops before."""
        raise UnsupportedError(f"{self.name} has no int8 activations")

    def program(self, build: Callable[[], None]) -> Callable[[], None]:
        """What runs the ops that `build` runs, as often as it is called: recorded if the backend can, else `build`."""
        return build

    def can_run(self, op: Op, fmt: str | None = None) -> bool:
        return self.missing(op, fmt) is None

    def require(self, op: Op, fmt: str | None = None) -> None:
        if reason := self.missing(op, fmt):
            raise UnsupportedError(f"{op.name}{f' with {fmt}' if fmt else ''} does not run on {self.name}: {reason}")

    def array(self, values: np.ndarray, label: str = "") -> Array:
        handle = self.empty(values.shape, values.dtype, label)
        self.write(handle, values)
        return handle

    def tune(self, programs: Sequence[Callable[[], None]], seconds: float, again: bool = False) -> list[Tuned]:
        """Chooses the fastest variants of the programs' ops, within a budget of seconds; `again`: also known ones."""
        return []

    def chunk(self, operations: float, most: int) -> int:
        """Tokens of a prompt, of so many operations each, for one step: so many that it keeps the device busy and does
        not hold it up."""
        return most

    def timer(self, keys: Callable[[], Keys | None]) -> Timer:
        """What times this backend's ops. `keys`: how many keys the step in hand sees."""
        return HostTimer(self, keys)

    def describe(self) -> str:
        """One line for people: which device this is."""
        return self.name

    def flush(self) -> None:  # noqa: B027 (a backend that does not queue has nothing to do)
        """Starts whatever is queued."""

    def close(self) -> None:  # noqa: B027 (a backend without resources has nothing to do)
        """Releases the device. The handles are dead afterwards."""

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, _t: type | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        self.close()


def check_operands(op: Op, operands: tuple[Handle, ...], params: dict[str, Any]) -> None:
    """Number and kinds of operands, names of parameters: a wrong call is a bug of ours and says which."""
    kinds = {"dense": Array, "index": Array, "weight": Weight, "kv": KV, "act8": Act8}
    if len(operands) != len(op.operands):
        raise TypeError(f"{op.name} takes {len(op.operands)} operands, {len(operands)} were given")
    for spec, value in zip(op.operands, operands, strict=True):
        if not isinstance(value, kinds[spec.kind]):
            raise TypeError(
                f"{op.name}: operand {spec.name} must be {kinds[spec.kind].__name__}, not {type(value).__name__}"
            )
    if set(params) != set(op.param_names()):
        raise TypeError(f"{op.name} takes the parameters {op.param_names()}, {tuple(params)} were given")
