"""The thread that drives an engine, so that any number of threads may use one model.

Requests come in by a queue and answers leave by one queue per request. A caller's KeyboardInterrupt never lands inside
a step: the caller's thread only waits, and says `abort` on its way out. An exception in a step ends all requests.
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
POLL_S = 0.1  # waits are sliced so that Ctrl-C is noticed on every platform


class EngineWorker:
    """Owns the thread; the engine is made on it by `make` and only ever touched there."""

    def __init__(self, make: Callable[[], Engine]):
        self.commands: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.answers: dict[Sequence, Answers] = {}
        self.engine: Engine | None = None
        self.thread = threading.Thread(target=self._main, name="wgpu_infer-engine", daemon=True)
        self.thread.start()
        try:
            self.call(lambda: self._make(make))
        except BaseException:
            self.close()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Runs a function on the engine's thread between two steps and returns what it returns (or raises)."""
        future: Future[T] = Future()

        def command() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        if not self.thread.is_alive():
            raise WgpuInferError("this model is closed")
        self.commands.put(command)
        return _wait(future)

    def stream(self, sequence: Sequence) -> PieceStream:
        """Submits a sequence at once; the stream yields its pieces."""
        answers: Answers = queue.SimpleQueue()
        self.call(lambda: self._submit(sequence, answers))
        return PieceStream(self, sequence, answers)

    def abort(self, sequence: Sequence) -> None:
        """Ends a sequence before the next step; does not wait."""
        self.commands.put(lambda: self._abort(sequence))

    def close(self) -> None:
        """Ends the thread; what was still running is aborted."""
        if self.thread.is_alive():
            self.commands.put(None)
            self.thread.join()

    def _main(self) -> None:
        while True:
            command = self._next_command()
            while command is not NOTHING:
                if command is None:
                    return self._shut()
                command()
                command = self._next_command()
            self._step()

    def _next_command(self) -> Any:
        """Waits for a command while there is nothing to compute; NOTHING where there is."""
        if self.engine is None or self.engine.is_idle:
            return self.commands.get()
        try:
            return self.commands.get_nowait()
        except queue.Empty:
            return NOTHING

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
        answers = self.answers.get(sequence)
        if answers is not None:
            answers.put(sequence.error or piece)
        if sequence.is_finished:
            self.answers.pop(sequence, None)

    def _fail(self, error: BaseException) -> None:
        """Every running and waiting request ends with the error of the step."""
        assert self.engine is not None
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
        self._fail(WgpuInferError("the model was closed while this request was running")) if self.engine else None
        if self.engine is not None:
            self.engine.backend.close()


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
            piece = _get(self.answers)
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


NOTHING = object()


def _wait(future: Future[T]) -> T:
    while True:
        try:
            return future.result(timeout=POLL_S)
        except TimeoutError:
            if future.done():
                raise


def _get(answers: Answers) -> Any:
    while True:
        try:
            return answers.get(timeout=POLL_S)
        except queue.Empty:
            continue
