"""How much work a submission may hold: what this device was seen to do in a quarter of a second.

Systems reset a GPU that works on one submission for seconds. Steps that could come near are timed now and then, and
give a rate of operations per second for their main op, kept on disk per adapter and driver. Only products count as
work that was done, since how many keys attention sees is not known here: so rates err on the careful side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wgpu_infer import kept
from wgpu_infer.contracts.table import OPS

if TYPE_CHECKING:
    from wgpu_infer.backends.webgpu.recorder import Dispatch

FILE = "pace.json"
TARGET_S = 0.25  # of a submission; half of what may never be exceeded
UNKNOWN = 3.2e10  # operations per second before anything was timed: what the slowest GPUs reach
SHORT_S = 5e-3  # steps that take less say only that the device is at least so fast
NOTABLE = 1 / 8  # of a full submission: less than that is not timed
TIMED = (3, 16)  # a process's first steps are timed, and then every so manieth
CHUNK = (32, 512)  # tokens of a prompt in one step, at least and at most
CUT_ROWS = 256  # products are cut at multiples of so many rows, where any format's bytes are aligned for a binding


class Pace:
    """Rates of one device by op, in operations per second. `device`: what it is kept under."""

    def __init__(self, device: str):
        self.device = device
        known = kept.load(FILE).get(device)
        self.rates: dict[str, float] = {op: float(r) for op, r in entries(known) if is_rate(r)}
        self._saved = dict(self.rates)
        self._seen: Counter[str] = Counter()

    def limit(self, op: str) -> float:
        """Operations that a submission whose main op this is may hold."""
        return TARGET_S * self.rates.get(op, UNKNOWN)

    def chunk(self, operations: float) -> int:
        """Tokens of a prompt, of so many operations each, that take one submission: a power of two within CHUNK."""
        rates = [rate for op, rate in self.rates.items() if op.startswith("matmul")]
        tokens = int(TARGET_S * min(rates, default=UNKNOWN) / max(operations, 1.0))
        return max(CHUNK[0], min(1 << max(tokens, 1).bit_length() - 1, CHUNK[1]))

    def parts(self, dispatch: Dispatch) -> list[Dispatch]:
        """The dispatch, or where it is more than a submission may hold, several for some of its rows each."""
        parts = -int(-dispatch.work // self.limit(dispatch.op))  # rounded up
        if parts < 2 or dispatch.cut is None:
            return [dispatch]
        rows = dispatch.params["rows"]
        step = max(1, rows // parts // CUT_ROWS) * CUT_ROWS
        return [dispatch.cut(range(start, min(start + step, rows))) for start in range(0, rows, step)]

    def wants(self, op: str, work: float) -> bool:
        """Whether a step with so much work of its main op is to be timed."""
        if work < NOTABLE * self.limit(op):
            return False
        self._seen[op] += 1
        first, every = TIMED
        return self._seen[op] <= first or self._seen[op] % every == 0

    def learn(self, op: str, work: float, seconds: float) -> None:
        """What was slower than known counts at once, what was faster by half."""
        measured, known = work / max(seconds, 1e-9), self.rates.get(op)
        if known is None or (seconds >= SHORT_S and measured < known):
            self.rates[op] = measured
        elif measured > known:
            self.rates[op] = (measured * known) ** 0.5
        saved = self._saved.get(op, 0.0)
        if not 0.8 * saved < self.rates[op] < 1.25 * saved:
            self.save()

    def save(self) -> None:
        kept.save(FILE, kept.load(FILE) | {self.device: self.rates})
        self._saved = dict(self.rates)


def entries(known: Any) -> Iterable[tuple[str, Any]]:
    return known.items() if isinstance(known, dict) else ()


def is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 1e6 < value < 1e18


def main_op(dispatches: Iterable[Dispatch]) -> tuple[str, float]:
    """The product that most of the work is, and the work of all products; ("", 0) where there is none."""
    work: dict[str, float] = {}
    for d in dispatches:
        if d.op in OPS and OPS[d.op].weight is not None:
            work[d.op] = work.get(d.op, 0.0) + d.work
    return max(work, key=lambda op: work[op], default=""), sum(work.values())
