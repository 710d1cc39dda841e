"""The environment chat templates run in: jinja2's sandbox with its gaps closed.

A template is code from a stranger's file. Jinja's ImmutableSandboxedEnvironment keeps it away from Python's internals;
this adds what that leaves out. Only named filters, methods and functions exist; whatever makes something large is
counted (chat_budget.py); loops are counted by a filter that is put into their bodies when a template is compiled
(chat_compile.py). Settings, `tojson`, `raise_exception`, `strftime_now`, break, continue and `generation` blocks are
those of Hugging Face's apply_chat_template, for which templates are written; but `safe` changes nothing, where there it
makes jinja escape the text that is added to it.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter, SecurityError, safe_range
from jinja2.utils import Namespace

from wgpu_infer.errors import ChatTemplateError
from wgpu_infer.tokenizer.chat_budget import MAX_DEPTH, Budget

MAX_MESSAGE = 500  # characters of a template's own error shown
_TIME_FORMAT = re.compile(r"(?:%-?[A-Za-z%]|[^%]){0,100}")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FILTERS = _names(
    "abs capitalize count d default dictsort first float format groupby indent int items join last length list lower "
    "map max min reject rejectattr replace reverse round select selectattr sort string sum title trim unique upper "
    "wordcount"
)
_METHODS: dict[type, frozenset[str]] = {
    str: _names(
        "capitalize casefold center count endswith find format index isalnum isalpha isascii isdecimal isdigit islower "
        "isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind "
        "rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill"
    ),
    dict: _names("get items keys values copy"),
    list: _names("index count copy"),
    tuple: _names("index count"),
}


class GenerationTag(Extension):
    """`{% generation %} … {% endgeneration %}`: marks an assistant's words for training; here just a block."""

    tags = {"generation"}  # noqa: RUF012  # jinja's interface

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for one compilation or one rendering."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self, budget: Budget, clock: Callable[[], datetime] = datetime.now):
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # nothing of a template runs while it is compiled
            cache_size=0,
            extensions=[GenerationTag, "jinja2.ext.loopcontrols"],
            finalize=self._finalize,
        )
        self._budget = budget
        self._clock = clock
        self.filters = {name: self._guarded(name, self.filters[name]) for name in _FILTERS}
        self.filters |= {"safe": str, "tojson": self._tojson, **counting_filters(budget)}
        self.globals = {
            "range": safe_range,
            "dict": dict,
            "namespace": Namespace,
            "raise_exception": _raise_exception,
            "strftime_now": self._strftime_now,
        }
        self._functions = frozenset(map(id, self.globals.values()))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self._budget.operator(operator, left, right)
        value = super().call_binop(context, operator, left, right)
        return value if isinstance(value, str) else self._budget.made(value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Jinja would give a value that is refused only when it is used further; here asking is refused."""
        raise SecurityError(f"access to attribute {attribute!r:.80} of {type(obj).__name__!r} object is unsafe")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        bound = isinstance(value, types.BuiltinMethodType) and isinstance(value.__self__, str)
        return _Format(self, value.__self__) if bound and value.__name__ == "format" else None

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # jinja's names
        budget = __self._budget
        budget.step()
        __self._check_callable(__obj, args)
        budget.depth += 1
        if budget.depth > MAX_DEPTH:
            raise ChatTemplateError(f"the chat template calls macros more than {MAX_DEPTH} deep")
        try:
            return budget.made(super().call(__context, __obj, *args, **kwargs))
        finally:
            budget.depth -= 1

    def _check_callable(self, called: Any, args: tuple[Any, ...]) -> None:
        """Only what is listed can be called. What a method would make large is counted before."""
        if isinstance(called, Macro | LoopContext | Undefined | _Format) or id(called) in self._functions:
            return
        owner = getattr(called, "__self__", None)
        if isinstance(called, types.MethodType) and isinstance(owner, LoopContext):
            return
        name = getattr(called, "__name__", "")
        if not isinstance(called, types.BuiltinMethodType) or name not in _METHODS.get(type(owner), frozenset()):
            raise ChatTemplateError(f"the chat template calls {name or type(called).__name__!r}, which is not allowed")
        if isinstance(owner, str):
            self._check_text_method(owner, name, args)

    def _check_text_method(self, owner: str, name: str, args: tuple[Any, ...]) -> None:
        if name in ("center", "ljust", "rjust", "zfill") and args:
            self._budget.width(args[0])
        elif name == "join" and args:
            self._check_join(owner, args[0])
        elif name == "replace" and len(args) > 1:
            self._check_replace(owner, args[0], args[1])

    def _check_join(self, separator: Any, parts: Any) -> None:
        if isinstance(parts, list | tuple | dict | str):
            self._budget.text(self._budget.size(parts) + len(separator) * len(parts))

    def _check_replace(self, text: Any, old: Any, new: Any) -> None:
        if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
            self._budget.text(len(text) + text.count(old) * len(new))

    def _finalize(self, value: Any) -> Any:
        """Every value that is written comes by here."""
        self._budget.text(self._budget.size(value) if isinstance(value, str | list | tuple | dict) else 1)
        self._budget.step()
        return value

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter of jinja's that counts. Jinja passes context or environment first where the filter asks for it."""
        at = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._budget.step()
            self._check_filter(name, args[at], (*args[at + 1 :], *kwargs.values()))
            if name in ("join", "sum") and not isinstance(args[at], str | list | tuple | dict | Undefined):
                value = list(self._budget.made(iter(args[at])))
                self._check_filter(name, value, (*args[at + 1 :], *kwargs.values()))
                args = (*args[:at], value, *args[at + 1 :])
            return self._budget.made(function(*args, **kwargs))

        return counted

    def _check_filter(self, name: str, value: Any, options: tuple[Any, ...]) -> None:
        budget = self._budget
        if isinstance(value, list | tuple | dict):
            budget.step(len(value))
        if name == "join":
            self._check_join(str(next(iter(options), "")), value)
        elif name == "replace" and len(options) > 1:
            self._check_replace(value, *options[:2])
        elif name == "indent":
            widths = [budget.width(option) for option in options if isinstance(option, int)]
            longest = max([4, *widths, *(len(option) for option in options if isinstance(option, str))])
            budget.text(budget.size(value) + (1 + str(value).count("\n")) * longest)
        elif name == "format":
            budget.percent(str(value), options)
        elif name == "string":
            budget.text(budget.size(value))
        elif name == "round" and options:
            budget.width(options[0])
        elif name == "sum" and isinstance(value, list | tuple) and any(isinstance(x, list | tuple) for x in value):
            raise ChatTemplateError("the chat template sums lists")

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        width = len(indent) if isinstance(indent, str) else 0 if indent is None else self._budget.width(indent)
        self._budget.text(self._budget.size(value, 1, 4 + width))
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def _strftime_now(self, pattern: str) -> str:
        if not isinstance(pattern, str) or not _TIME_FORMAT.fullmatch(pattern):
            raise ChatTemplateError(f"the chat template uses the time format {pattern!r:.80}")
        return self._clock().strftime(pattern)


class _Format:
    """`text.format` inside a template: attributes go through the sandbox, sizes are counted."""

    def __init__(self, sandbox: Sandbox, text: str):
        self._sandbox, self._text = sandbox, text

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        self._sandbox._budget.braces(self._text, [*args, *kwargs.values()])
        return SandboxedFormatter(self._sandbox).vformat(self._text, args, kwargs)


def counting_filters(budget: Budget) -> dict[str, Callable[..., Any]]:
    """What chat_compile puts into templates: a turn of a loop, a concatenation, a slice."""

    def tick(characters: int) -> bool:
        budget.step()
        budget.text(characters)
        return True

    def concat(parts: list[Any]) -> str:
        budget.text(sum(map(budget.size, parts)))
        return "".join(map(str, parts))

    def cut(value: Any, start: Any, stop: Any, step: Any) -> Any:
        return budget.made(value[start:stop:step])

    return {"_tick": tick, "_concat": concat, "_cut": cut}


def _raise_exception(message: Any) -> None:
    raise ChatTemplateError(str(message)[:MAX_MESSAGE])
