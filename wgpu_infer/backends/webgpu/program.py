"""A program: the dispatches that a step issues, recorded once and issued again at every call.

Either way the same list runs: `replayed` by one compiled call (native_replay.py), or `eager` through wgpu-py's public
API, which is slower and gives the same bits. An error while issuing drops what was recorded and records it anew, once.
Long steps are timed now and then (pace.py), and cut anew where that changes how much a submission may hold.
Of a failed replay nothing was submitted; of a failed eager call the last submission was not, at whose end a step moves
on, so either can be issued again. Calls are asynchronous: they return when the work is submitted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from wgpu_infer.backends.webgpu import recorder
from wgpu_infer.backends.webgpu.native_replay import Replay
from wgpu_infer.backends.webgpu.pace import main_op
from wgpu_infer.backends.webgpu.recorder import Dispatch
from wgpu_infer.backends.webgpu.runtime import Runtime
from wgpu_infer.errors import DeviceError

log = logging.getLogger(__name__)


class Program:
    """`record` lists the dispatches. `dispatches` is that list, for those who want to look at it or time it."""

    def __init__(self, runtime: Runtime, record: Callable[[], list[Dispatch]], eager: bool):
        self.runtime, self.eager = runtime, eager
        self._make = record
        with runtime.lock:
            self._record()

    def _record(self) -> None:
        self.dispatches = self._make()
        self._op, self._work = main_op(self.dispatches)
        self._replay: Callable[[], None] | None = None
        self._limit = 0.0  # that the replay was made for

    def __call__(self) -> None:
        with self.runtime.lock:
            try:
                self._issue()
            except DeviceError as error:
                if self.runtime.device.lost:
                    raise
                log.warning("a recorded step is recorded anew: %s", error)
                self.runtime.recorder.drop()
                self._record()
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
        replay = self._prepare()
        with device.errors("replaying a step"):
            if self.runtime.timer is not None:
                self.runtime.timer.step(self, self._stages(replay))
            elif self.runtime.pace.wants(self._op, self._work):
                self._time(replay)
            else:
                replay()

    def _prepare(self) -> Callable[[], None]:
        """What issues the dispatches, made anew where a submission may hold so much more or less than it did then."""
        limit = self.runtime.pace.limit(self._op)
        if self._replay is None or (self._work > min(limit, self._limit) and not 0.67 < limit / self._limit < 1.5):
            self._limit = limit
            parts = [part for dispatch in self.dispatches for part in self.runtime.pace.parts(dispatch)]
            submissions = split(parts, limit)
            issue_eagerly = partial(self._issue_eagerly, submissions)
            self._replay = issue_eagerly if self.eager else Replay(self.runtime.device.handle, submissions)
        return self._replay

    def _time(self, replay: Callable[[], None]) -> None:
        self.runtime.buffers.wait_idle()
        started = time.perf_counter()
        replay()
        with suppress(DeviceError):  # the step is submitted, so it must not be issued again; who reads it is told
            self.runtime.buffers.wait_idle()
            self.runtime.pace.learn(self._op, self._work, time.perf_counter() - started)

    def _stages(self, replay: Callable[[], None]) -> list[tuple[str, Callable[[], None]]]:
        """What a call does, in the parts that a profile tells apart."""
        if isinstance(replay, Replay):
            return [("encode", replay.encode), ("submit", replay.submit)]
        return [("encode and submit", replay)]

    def _issue_eagerly(self, submissions: list[list[Dispatch]]) -> None:
        for dispatches in submissions:
            for dispatch in dispatches:
                self.runtime.recorder.dispatch(dispatch)
            self.runtime.recorder.flush()


def split(dispatches: Iterable[Dispatch], limit: float) -> list[list[Dispatch]]:
    """In order, in submissions of at most MAX_QUEUED dispatches and of work up to the limit, unless one has more."""
    out: list[list[Dispatch]] = []
    work = 0.0
    for dispatch in dispatches:
        if not out or len(out[-1]) >= recorder.MAX_QUEUED or work + dispatch.work > limit:
            out.append([])
            work = 0.0
        out[-1].append(dispatch)
        work += dispatch.work
    return out
