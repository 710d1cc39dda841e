"""The thread that drives an engine, so that any number of threads may use one model.

Requests come in by a queue and answers leave by one queue per request. A caller's KeyboardInterrupt never lands inside
a step: the caller's thread only waits, and says `abort` on its way out. An exception in a step ends all requests.
Whoever waits also watches the thread: nobody waits for one that has ended (closed by another caller, or forked away).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from wgpu_infer.engine.engine import Engine
from wgpu_infer.engine.sequence import Piece, Sequence
from wgpu_infer.errors import WgpuInferError

T = TypeVar("T")
Answers = queue.SimpleQueue  # of Piece or the exception that ended the request
Command = Callable[[], Any]
POLL_S = 0.1  # waits are sliced so that Ctrl-C is noticed on every platform
CLOSED = "this model is closed"


class EngineWorker:
    """Owns the thread; the engine is made on it by `make` and only ever touched there. `at_end` is its last call."""

    def __init__(self, make: Callable[[], Engine], at_end: Command = lambda: None):
        self.commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self.parked: list[Command] = []  # commands that wait until they are ready
        self.answers: dict[Sequence, Answers] = {}
        self.engine: Engine | None = None
        self.at_end = at_end
        self.thread = threading.Thread(target=self._main, name="wgpu_infer-engine", daemon=True)
        self.thread.start()
        try:
            self.call(lambda: self._make(make))
        except BaseException as error:
            self.close(wait=isinstance(error, Exception))  # Ctrl-C does not wait for what is being compiled
            raise

    def call(self, function: Callable[[], T], ready: Callable[[], bool] = lambda: True) -> T:
        """Runs a function on the engine's thread between two steps, once `ready`; returns its result (or raises)."""
        future: Future[T] = Future()

        def command() -> None:
            if not ready() and not future.cancelled():
                self.parked.append(command)
            elif future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)

        self.commands.put(command)
        try:
            return _wait(future, self.thread)
        except BaseException:
            future.cancel()  # nobody wants it any more
            raise

    def stream(self, sequence: Sequence) -> PieceStream:
        """Submits a sequence at once; the stream yields its pieces."""
        answers: Answers = queue.SimpleQueue()
        try:
            self.call(lambda: self._submit(sequence, answers))
        except BaseException:
            self.abort(sequence)  # it may have been submitted when the interrupt came
            raise
        return PieceStream(self, sequence, answers)

    def abort(self, sequence: Sequence) -> None:
        """Ends a sequence before the next step; does not wait."""
        self.commands.put(lambda: self._abort(sequence))

    def close(self, wait: bool = True) -> None:
        """Ends the thread; what was still running is aborted. Without `wait` that happens behind the caller's back."""
        self.commands.put(None)
        while wait and self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join(POLL_S)

    def _main(self) -> None:
        try:
            while self._obey():
                self._step()
                self._unpark()
        finally:
            self._shut()

    def _obey(self) -> bool:
        """Runs what was asked for since the last step; waits while there is nothing to compute. False: to end."""
        while True:
            try:
                command = self.commands.get(block=self.engine is None or self.engine.is_idle)
            except queue.Empty:
                return True
            if command is None:
                return False
            command()
            del command  # it holds its caller's model alive, and the next one may be long in coming
            self._unpark()

    def _unpark(self) -> None:
        """Parked commands in order; one that is still not ready parks itself again."""
        parked, self.parked = self.parked, []
        for command in parked:
            command()

    def _step(self) -> None:
        assert self.engine is not None
        try:
            pieces = self.engine.step()
        except BaseException as error:
            self._fail(error)
            return
        for sequence, piece in pieces:
            self._answer(sequence, piece)

    def _answer(self, sequence: Sequence, piece: Piece) -> None:
        is_last = piece.finish_reason is not None  # a step may bring a sequence several pieces
        answers = self.answers.get(sequence)
        if answers is not None:
            answers.put(sequence.error if is_last and sequence.error else piece)
        if is_last:
            self.answers.pop(sequence, None)

    def _fail(self, error: BaseException) -> None:
        """Every running and waiting request ends with the error of the step."""
        assert self.engine is not None
        self.engine.forget_flights()
        for sequence, answers in list(self.answers.items()):
            self._abort(sequence)
            answers.put(error)

    def _make(self, make: Callable[[], Engine]) -> None:
        self.engine = make()

    def _submit(self, sequence: Sequence, answers: Answers) -> None:
        assert self.engine is not None
        self.engine.submit(sequence)
        self.answers[sequence] = answers

    def _abort(self, sequence: Sequence) -> None:
        assert self.engine is not None
        self.engine.abort(sequence)
        self.answers.pop(sequence, None)

    def _shut(self) -> None:
        try:
            if self.engine is not None:
                self._fail(WgpuInferError("the model was closed while this request was running"))
                self.engine.backend.close()
        finally:
            self.at_end()


class PieceStream:
    """Iterates over a sequence's pieces; `close`, or dropping it, aborts what is not finished."""

    def __init__(self, worker: EngineWorker, sequence: Sequence, answers: Answers):
        self.worker, self.sequence, self.answers = worker, sequence, answers
        self.ended = False

    def __iter__(self) -> PieceStream:
        return self

    def __next__(self) -> Piece:
        if self.ended:
            raise StopIteration
        try:
            piece = _get(self.answers, self.worker.thread)
        except BaseException:
            self.close()
            raise
        if isinstance(piece, BaseException):
            self.ended = True
            raise piece
        self.ended = piece.finish_reason is not None
        return piece

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            self.worker.abort(self.sequence)

    def __del__(self) -> None:
        self.close()


def _wait(future: Future[T], thread: threading.Thread) -> T:
    while True:
        try:
            return future.result(timeout=POLL_S)
        except TimeoutError:
            if future.done():
                raise
            if not thread.is_alive() and not future.done():
                raise WgpuInferError(CLOSED) from None


def _get(answers: Answers, thread: threading.Thread) -> Any:
    while True:
        try:
            return answers.get(timeout=POLL_S)
        except queue.Empty:
            if not thread.is_alive() and answers.empty():
                raise WgpuInferError(CLOSED) from None
