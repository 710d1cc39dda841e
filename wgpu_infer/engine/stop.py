"""Cutting a stream of text at stop strings that may span pieces, never emitting text that could still become one."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """push(text) -> the text that is safe to show. `stopped` once a stop string was met; the rest is dropped."""

    def __init__(self, stops: Sequence[str]):
        self.stops = stops
        self.held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        if self.stopped:
            return ""
        self.held += text
        found = [(self.held.find(stop), len(stop)) for stop in self.stops]
        ends = [(at + length, at) for at, length in found if at >= 0]
        if ends:
            self.stopped = True
            return self._take(min(ends)[1])  # the one that was complete first, as if text came by single characters
        return self._take(len(self.held) - self._pending())

    def finish(self) -> str:
        """What was held back, at the end of the text."""
        return "" if self.stopped else self._take(len(self.held))

    def _take(self, count: int) -> str:
        out, self.held = self.held[:count], self.held[count:]
        return out

    def _pending(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = max((len(stop) - 1 for stop in self.stops), default=0)
        for length in range(min(longest, len(self.held)), 0, -1):
            if any(stop.startswith(self.held[-length:]) for stop in self.stops):
                return length
        return 0
