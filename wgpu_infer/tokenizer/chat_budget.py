"""What a chat template may spend: steps, characters, time. Counting is the only defence against `'a' * 10**10`.

Every loop turn, call, filter and operator of a template reports here before it makes something large. The limits grow
with the messages, so that a long conversation renders, and do not depend on the machine, but for the time, which only
ends what no count sees (say, a million comparisons of long texts). It is the thread's own: a busy machine is no fault.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from wgpu_infer.errors import ChatTemplateError

STEPS, STEPS_PER_ITEM = 200_000, 200  # loop turns, calls, list elements; for each value in the messages
CHARACTERS, CHARACTERS_PER_INPUT = 16 << 20, 64  # of all texts made while rendering; for each character of input
LONGEST, LONGEST_PER_INPUT = 1 << 20, 16  # of one text
SECONDS, SECONDS_PER_ITEM = 1.0, 0.001
MAX_DEPTH = 64  # of macro calls, of nested values
MAX_BITS = 128  # of a whole number
MAX_WIDTH = 1000  # of padding, indentation, precision
_WIDE = re.compile(r"\d{4,}|\*")
_NESTED_FORMAT = re.compile(r":[^{}]*\{")


class Budget:
    """Counts down while one template compiles or renders. Raises ChatTemplateError when something runs out."""

    def __init__(self, items: int = 0, characters: int = 0):
        self._steps = STEPS + STEPS_PER_ITEM * items
        self._characters = CHARACTERS + CHARACTERS_PER_INPUT * characters
        self.longest = LONGEST + LONGEST_PER_INPUT * characters
        self._seconds = SECONDS + SECONDS_PER_ITEM * items
        self._deadline = time.thread_time() + self._seconds
        self.depth = 0

    def step(self, count: int = 1) -> None:
        """A loop turn, a call, or `count` elements."""
        self._steps -= count
        if self._steps < 0:
            raise ChatTemplateError("the chat template takes too many steps")
        if time.thread_time() > self._deadline:
            raise ChatTemplateError(f"the chat template takes longer than {self._seconds:.0f} s")

    def text(self, size: int) -> None:
        """A text of `size` characters is about to be made."""
        self._characters -= size
        if size > self.longest or self._characters < 0:
            raise ChatTemplateError("the chat template makes too much text")

    def made(self, value: Any) -> Any:
        """Counts a result that exists already, and gives it back; a generator is counted as it is used."""
        if isinstance(value, str):
            self.text(len(value))
        elif isinstance(value, list | tuple | dict):
            self.step(1 + len(value))
        elif isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ChatTemplateError(f"the chat template makes a number of more than {MAX_BITS} bits")
        elif isinstance(value, Iterator):
            return self._counted(value)
        return value

    def _counted(self, values: Iterator[Any]) -> Iterator[Any]:
        for value in values:
            self.step()
            yield value

    def size(self, value: Any, depth: int = 0, indent: int = 4) -> int:
        """About the most characters that writing a value takes, without writing it; counts a step per element.

        depth: 0 if a text is written as it is, 1 if quoted. indent: characters before each element, per level.
        """
        if isinstance(value, str):
            return 2 + 6 * len(value) if depth else len(value)  # inside a list it is quoted and escaped
        if not isinstance(value, list | tuple | dict):
            return 2 + value.bit_length() // 3 if isinstance(value, int) else 32
        if depth > MAX_DEPTH:
            raise ChatTemplateError(f"the chat template nests values more than {MAX_DEPTH} deep")
        self.step(1 + len(value))
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        total = 2
        for part in parts:
            total += indent * (depth + 1) + self.size(part, depth + 1, indent)
            if total > self.longest:
                break  # what is shared may be exponentially long
        return total

    def width(self, value: Any) -> int:
        """A number used as a width, checked."""
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_WIDTH:
            raise ChatTemplateError(f"the chat template asks for a width of {value!r:.20}; at most {MAX_WIDTH}")
        return value

    def percent(self, pattern: str, values: Any) -> None:
        """`pattern % values` is about to be made."""
        if _WIDE.search(pattern):
            raise ChatTemplateError(f"the chat template asks for a width of more than {MAX_WIDTH}")
        self.text(len(pattern) + pattern.count("%") * (MAX_WIDTH + self.size(values)))

    def braces(self, pattern: str, values: Any) -> None:
        """`pattern.format(values)` is about to be made."""
        if _WIDE.search(pattern) or _NESTED_FORMAT.search(pattern):
            raise ChatTemplateError("the chat template uses a format with a wide or computed field")
        self.text(len(pattern) + pattern.count("{") * (MAX_WIDTH + self.size(values)))

    def operator(self, sign: str, left: Any, right: Any) -> None:
        """`left sign right` is about to be computed: sizes of what comes out are checked before."""
        if isinstance(left, str) and sign == "%":
            self.percent(left, right)
        elif sign == "*":
            self._product(left, right)
        elif sign == "+" and isinstance(left, str) and isinstance(right, str):
            self.text(len(left) + len(right))
        elif sign == "+" and isinstance(left, list | tuple) and isinstance(right, list | tuple):
            self.step(len(left) + len(right))
        elif sign == "**":
            self._power(left, right)

    def _product(self, left: Any, right: Any) -> None:
        for many, times in ((left, right), (right, left)):
            if isinstance(many, str | list | tuple) and isinstance(times, int):
                size = len(many) * max(times, 0)
                self.text(size) if isinstance(many, str) else self.step(size)
        if isinstance(left, int) and isinstance(right, int):
            self._bits(left.bit_length() + right.bit_length())

    def _power(self, base: Any, exponent: Any) -> None:
        if isinstance(base, int) and isinstance(exponent, int):
            self._bits(max(base.bit_length(), 1) * abs(exponent))

    def _bits(self, bits: int) -> None:
        if bits > MAX_BITS:
            raise ChatTemplateError(f"the chat template makes a number of more than {MAX_BITS} bits")


def measure(data: Any) -> tuple[int, int]:
    """How many values JSON-like data holds, and how many characters of text."""
    items, characters, waiting = 0, 0, [data]
    while waiting:
        value = waiting.pop()
        items += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, Mapping):
            waiting += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
    return items, characters
