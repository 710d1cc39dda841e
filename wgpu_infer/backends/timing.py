"""What a profile is made of: timed calls of ops, spans of CPU time, and the timer of backends that run ops at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from wgpu_infer.contracts.contract import Op
from wgpu_infer.contracts.work import Keys
from wgpu_infer.errors import ParameterError

if TYPE_CHECKING:
    from wgpu_infer.backends.base import Backend, Handle


@dataclass(frozen=True)
class Event:
    """One call of an op. `start` is in seconds of the timer's clock, `step` counts the steps that were timed."""

    op: str
    format: str | None
    params: Mapping[str, Any]
    keys: Keys | None
    step: int
    start: float
    seconds: float


@dataclass(frozen=True)
class Step:
    """A timed step of so many tokens: its calls, and their seconds, one by one (`apart`) or all together."""

    tokens: int
    calls: int
    seconds: float
    apart: bool


@dataclass(frozen=True)
class Span:
    """CPU time of one kind of work: encode, submit, read back."""

    what: str
    start: float
    seconds: float


@dataclass(frozen=True)
class Rates:
    """What a device reaches at best, measured: bytes/s copied (read and written), operations/s of float32 and int8."""

    copy: float
    float32: float
    int8: float


@dataclass(frozen=True)
class Tuned:
    """What was measured for one op, format and shape: seconds of the default and of the variant that is used now."""

    what: str
    variant: str
    candidates: int
    default_s: float
    chosen_s: float


@dataclass
class Timing:
    """What a timer has gathered."""

    events: list[Event] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    rates: Rates | None = None


class Timer(Protocol):
    """Times what runs between `start` and `stop`."""

    timing: Timing

    def start(self) -> None: ...

    def stop(self) -> None: ...


class HostTimer:
    """Times each op of a backend whose `run` returns when the work is done, by running programs op by op."""

    def __init__(self, backend: Backend, keys: Callable[[], Keys | None]):
        self.backend, self.keys = backend, keys
        self.timing = Timing()

    def start(self) -> None:
        if "run" in vars(self.backend):
            raise ParameterError("this model is being profiled already")
        self._run = self.backend.run
        self.backend.run = self._timed  # type: ignore[method-assign]
        self.backend.program = self._unrecorded  # type: ignore[method-assign]

    def stop(self) -> None:
        del self.backend.run, self.backend.program

    def _unrecorded(self, build: Callable[[], None]) -> Callable[[], None]:
        def step() -> None:
            before = len(self.timing.events)
            build()
            events = self.timing.events[before:]
            tokens = max((tokens_of(e.params) for e in events), default=0)
            self.timing.steps.append(Step(tokens, len(events), sum(e.seconds for e in events), True))

        return step

    def _timed(self, op: Op, *operands: Handle, **params: int | float) -> None:
        start = time.perf_counter()
        self._run(op, *operands, **params)
        end = time.perf_counter()
        fmt = next((found for found in map(format_of, operands) if found), None)
        self.timing.events.append(Event(op.name, fmt, params, self.keys(), len(self.timing.steps), start, end - start))


def tokens_of(params: Mapping[str, Any]) -> int:
    return int(params.get("tokens", 0))


def format_of(operand: Any) -> str | None:
    """A weight's format, or the type of a cache; None for plain arrays."""
    return getattr(operand, "format", operand.dtype if hasattr(operand, "kv_heads") else None)
