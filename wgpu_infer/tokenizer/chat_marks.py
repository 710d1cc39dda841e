"""Keeping what people write in messages from becoming control tokens.

A template joins its own markers and the messages' text into one string, and only then are the special tokens in it
found. So that a message with "<|im_end|>" in it does not end the message, places in its text are marked before
rendering by two sentinels, characters that occur in no message and not in the template. They travel with the text
through whatever the template does to it; afterwards they are taken out and forbid matches there (partition.Barriers):

- Each spelling of a special token in a string stands between an opening and a closing sentinel. A match of just that
  is text. The spelling itself stays whole, so a template can still look for "</think>" or split at it.
- A string whose first characters (white space aside) end some special token, or whose last begin one, gets a sentinel
  at that end, so that it cannot complete a marker that the template began. No match may span a sentinel.

All other strings are unchanged, so a template that looks at its messages sees them as they are. Roles of the usual
names may be part of a marker: templates make "<|user|>" of them. Special are control and unknown tokens and, but for an
assistant's messages, the user-defined tokens that the template itself writes; an assistant's message is a model's own
words, in which those have their meaning.

Not covered: a template that deletes characters from inside a message's words can make a marker of the rest.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wgpu_infer.errors import ChatTemplateError
from wgpu_infer.tokenizer.partition import Barriers

ROLES = frozenset(
    ("system", "user", "assistant", "tool", "developer", "function", "ipython", "model", "tool_results", "observation")
)
_ASSISTANTS = frozenset(("assistant", "model"))
_MAX_DEPTH = 64
_HEAD = 3  # characters by which spellings that cannot occur are ruled out together
_SIGNS = [*range(0x4DC0, 0x4E00), *range(0xA000, 0xA48D)]  # hexagrams, then Yi syllables: printable, without case
Change = Callable[[str, bool], str]


def _unchanged(text: str, _is_role: bool) -> str:
    return text


class Protector:
    """Marks the strings of one conversation.

    Args:
        control: spellings that are special in every message.
        structural: spellings that are special in all but an assistant's messages.
        texts: everything the rendered text can be made of.
    """

    def __init__(self, control: Iterable[str], structural: Iterable[str], texts: Iterable[str]):
        control = set(control)
        self._control, self._all = _Spellings(control), _Spellings(control | set(structural))
        self._opening, self._closing = opening, closing = _absent_characters(texts)
        escapes = [rf"{sign}|\\u{ord(sign):04x}" for sign in (opening, closing)]  # a template may write JSON in ASCII
        self._sentinels = re.compile("(?P<opening>{})|(?P<closing>{})".format(*escapes))

    def message(self, message: dict[str, Any]) -> dict[str, Any]:
        """A marked copy of a message."""
        spellings = self._control if message.get("role") in _ASSISTANTS else self._all
        return plain_copy(message, lambda text, is_role: self._mark(spellings, text, is_role))

    def variables(self, extra: dict[str, Any]) -> dict[str, Any]:
        """A marked copy of a template's further variables."""
        return plain_copy(extra, lambda text, is_role: self._mark(self._all, text, is_role))

    def take_out(self, text: str) -> tuple[str, Barriers]:
        """The rendered text without sentinels, and where they were."""
        pieces: list[str] = []
        opened: set[int] = set()
        closed: set[int] = set()
        done = at = 0
        for match in self._sentinels.finditer(text):
            pieces.append(text[done : match.start()])
            at += match.start() - done
            done = match.end()
            (opened if match.lastgroup == "opening" else closed).add(at)
        return "".join([*pieces, text[done:]]), Barriers(frozenset(opened), frozenset(closed))

    def _mark(self, spellings: _Spellings, text: str, is_role: bool) -> str:
        opened, closed = spellings.inside(text)
        if not (is_role and text in ROLES):
            starts, ends = spellings.edges(text)
            opened, closed = opened | starts, closed | ends
        if not opened and not closed:
            return text
        places = sorted(opened | closed)
        pieces = [text[start:end] for start, end in itertools.pairwise([0, *places, len(text)])]
        signs = [self._closing * (place in closed) + self._opening * (place in opened) for place in places]
        return "".join(itertools.chain(*zip(pieces, [*signs, ""], strict=True)))


class _Spellings:
    """A set of special tokens, and which texts could be a part of one."""

    def __init__(self, spellings: set[str]):
        self._by_head: dict[str, list[str]] = {}
        for text in sorted(spellings):
            self._by_head.setdefault(text[:_HEAD], []).append(text)
        self._longest = max(map(len, spellings), default=0)
        self._all = "\0".join(spellings)
        self._beginnings = {text[:cut] for text in spellings for cut in range(1, len(text))}
        self._ends = {text[cut:] for text in spellings for cut in range(1, len(text))}

    def inside(self, text: str) -> tuple[set[int], set[int]]:
        """Where special tokens are spelled: their first positions, and those after them."""
        opened, closed = set(), set()
        found = (spellings for head, spellings in self._by_head.items() if head in text)
        for spelling in itertools.chain.from_iterable(found):
            at = text.find(spelling)
            while at >= 0:
                opened.add(at)
                closed.add(at + len(spelling))
                at = text.find(spelling, at + 1)
        return opened, closed

    def edges(self, text: str) -> tuple[set[int], set[int]]:
        """Ends of the text, with and without white space, that what stands beside it could complete to a token."""
        starts, ends = set(), set()
        sizes = range(1, self._longest)
        inner = (len(text) - len(text.lstrip()), len(text.rstrip()))
        for start, end in {(0, len(text)), inner}:
            core = text[start : max(start, end)]
            is_middle = len(core) < self._longest and core in self._all
            if core and (is_middle or any(core[:size] in self._ends for size in sizes)):
                starts.add(start)
            if core and (is_middle or any(core[-size:] in self._beginnings for size in sizes)):
                ends.add(end)
        return starts, ends


def _absent_characters(texts: Iterable[str]) -> tuple[str, str]:
    """Two characters that are nowhere in the texts, nor their JSON escapes; printable, so that str(list) keeps them."""
    everything = "\0".join(texts)
    absent = (code for code in _SIGNS if chr(code) not in everything and f"\\u{code:04x}" not in everything)
    try:
        return chr(next(absent)), chr(next(absent))
    except StopIteration:
        raise ChatTemplateError("the messages leave no characters to mark their text with") from None


def plain_copy(data: Any, change: Change = _unchanged, depth: int = 0) -> Any:
    """A copy of JSON-like data in plain types with `change(text, is_role)` applied to its strings.

    `data` is a message or the like: its own keys stay, keys further inside are changed, the value of `role` is a role.
    ChatTemplateError for anything that is not JSON.
    """
    if depth > _MAX_DEPTH:
        raise ChatTemplateError(f"messages are nested more than {_MAX_DEPTH} deep")
    if data is None or isinstance(data, bool):
        return data
    if isinstance(data, str):
        return change(str.__str__(data), False)
    if isinstance(data, int | float):
        return int(data) if isinstance(data, int) else float(data)
    if isinstance(data, list | tuple):
        return [plain_copy(item, change, depth + 1) for item in data]
    if isinstance(data, Mapping) and all(isinstance(key, str) for key in data):
        return {_key(key, change, depth): _value(key, value, change, depth) for key, value in data.items()}
    raise ChatTemplateError(f"messages must be made of text, numbers, lists and dicts; given {type(data).__name__}")


def _key(key: str, change: Change, depth: int) -> str:
    return change(str.__str__(key), False) if depth else str.__str__(key)


def _value(key: str, value: Any, change: Change, depth: int) -> Any:
    if key == "role" and isinstance(value, str) and not depth:
        return change(str.__str__(value), True)
    return plain_copy(value, change, depth + 1)


def strings_of(data: Any) -> list[str]:
    """Every string in JSON-like data, keys included."""
    found: list[str] = []

    def keep(text: str, _is_role: bool) -> str:
        found.append(text)
        return text

    plain_copy(data, keep, depth=1)
    return found
