"""A program: the dispatches that a step issues, recorded once and issued again at every call.

Either way the same list runs: `replayed` by one compiled call (native_replay.py), or `eager` through wgpu-py's public
API, which is slower and gives the same bits. An error while issuing drops what was recorded and records it anew, once.
Of a failed replay nothing was submitted; of a failed eager call the last submission was not, at whose end a step moves
on, so either can be issued again. Calls are asynchronous: they return when the work is submitted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from wgpu_infer.backends.webgpu.native_replay import Replay
from wgpu_infer.backends.webgpu.recorder import Dispatch, is_full
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.errors import DeviceError

log = logging.getLogger(__name__)


class Program:
    """`record` lists the dispatches. `dispatches` is that list, for those who want to look at it or time it."""

    def __init__(self, runtime: Runtime, record: Callable[[], list[Dispatch]], eager: bool):
        self.runtime, self.eager = runtime, eager
        self._record = record
        self._replay: Callable[[], None] | None = None
        with runtime.lock:
            self.dispatches = record()

    def __call__(self) -> None:
        with self.runtime.lock:
            try:
                self._issue()
            except DeviceError as error:
                if self.runtime.device.lost:
                    raise
                log.warning("a recorded step is recorded anew: %s", error)
                self.runtime.recorder.drop()
                self._replay = None
                self.dispatches = self._record()
                self._issue()

    def run(self, times: int) -> None:
        """Submits the step so many times; results are read afterwards."""
        for _ in range(times):
            self()

    def _issue(self) -> None:
        device, recorder = self.runtime.device, self.runtime.recorder
        if device.lost:
            raise DeviceError(device.lost)
        if not self.dispatches:
            return
        recorder.flush()
        if self._replay is None:
            self._replay = self._issue_eagerly if self.eager else Replay(device.handle, split(self.dispatches))
        with device.errors("replaying a step"):
            if self.runtime.timer is None:
                self._replay()
            else:
                self.runtime.timer.step(self, self._stages(self._replay))

    def _stages(self, replay: Callable[[], None]) -> list[tuple[str, Callable[[], None]]]:
        """What a call does, in the parts that a profile tells apart."""
        if isinstance(replay, Replay):
            return [("encode", replay.encode), ("submit", replay.submit)]
        return [("encode and submit", replay)]

    def _issue_eagerly(self) -> None:
        for dispatch in self.dispatches:
            self.runtime.recorder.dispatch(dispatch)
        self.runtime.recorder.flush()


def split(dispatches: Iterable[Dispatch]) -> list[list[Dispatch]]:
    """In order, in submissions that are not too long for one."""
    out: list[list[Dispatch]] = []
    work = 0.0
    for dispatch in dispatches:
        if not out or is_full(len(out[-1]), work + dispatch.work):
            out.append([])
            work = 0.0
        out[-1].append(dispatch)
        work += dispatch.work
    return out
