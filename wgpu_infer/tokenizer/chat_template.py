"""Chat templates: the jinja2 program in a model file that turns messages into the text the model was trained on.

    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    template.render([{"role": "user", "content": "hi"}])

The program comes from a stranger and runs in a sandbox with a budget (chat_sandbox.py, chat_budget.py). Whatever goes
wrong in it, malformed, refused, too expensive or rejecting its messages, is a ChatTemplateError of bounded length.
Output equals Hugging Face's apply_chat_template. Text of messages is data: it is never parsed as template.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any

from wgpu_infer.errors import ChatTemplateError
from wgpu_infer.tokenizer.chat_budget import Budget, measure
from wgpu_infer.tokenizer.chat_compile import FILE_NAME, compile_template
from wgpu_infer.tokenizer.chat_marks import plain_copy
from wgpu_infer.tokenizer.chat_sandbox import MAX_MESSAGE, Sandbox

CHATML = (  # for files without a template whose vocabulary has its markers
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# What callers may not pass to a template as further variables.
RESERVED = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token", "chat_template", "tokenize"})
RESERVED |= {"raise_exception", "strftime_now", "range", "dict", "namespace"}
MAX_MESSAGES = 100_000


class ChatTemplate:
    """A compiled template.

    Args:
        source: the jinja2 text.
        bos_token, eos_token: spellings that the template can use; None is written as nothing.
        clock: what strftime_now shows; a fixed one makes output reproducible.

    Raises ChatTemplateError for a template that cannot be compiled, naming the line where there is one.
    """

    def __init__(
        self,
        source: str,
        bos_token: str | None = None,
        eos_token: str | None = None,
        clock: Callable[[], datetime] = datetime.now,
    ):
        self.source = source
        self._code = compile_template(source)
        self._tokens = {"bos_token": bos_token or "", "eos_token": eos_token or ""}
        self._clock = clock

    def render(self, messages: list[dict[str, Any]], add_generation_prompt: bool = True, **extra: Any) -> str:
        """The text of a conversation.

        Args:
            messages: dicts with `role` and `content`, and what else the template knows, made of JSON types.
            add_generation_prompt: end with the beginning of an assistant's message.
            extra: further variables for the template: tools, documents, enable_thinking, …
        """
        taken = RESERVED & extra.keys()
        if taken:
            raise ChatTemplateError(f"{', '.join(sorted(taken))} cannot be given to a chat template")
        check_messages(messages)
        messages, extra = [plain_copy(message) for message in messages], plain_copy(extra)
        sandbox = Sandbox(Budget(*measure([messages, extra])), self._clock)
        variables = {"tools": None, "documents": None, **self._tokens, **extra}
        try:
            template = sandbox.template_class.from_code(sandbox, self._code, sandbox.make_globals(None))
            return template.render(messages=messages, add_generation_prompt=bool(add_generation_prompt), **variables)
        except ChatTemplateError as fault:
            raise ChatTemplateError(str(fault)[:MAX_MESSAGE]) from None
        except (RecursionError, MemoryError) as fault:
            raise ChatTemplateError(f"the chat template ran out of {_resource(fault)}") from None
        except Exception as fault:
            raise ChatTemplateError(f"chat template{_place(fault.__traceback__)}: {fault!s:.{MAX_MESSAGE}}") from fault


def check_messages(messages: Any) -> None:
    """Raises ChatTemplateError for what is no conversation."""
    if not isinstance(messages, list | tuple) or not messages:
        raise ChatTemplateError("messages must be a list with at least one message")
    if len(messages) > MAX_MESSAGES:
        raise ChatTemplateError(f"there are {len(messages)} messages; at most {MAX_MESSAGES}")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise ChatTemplateError(f"message {index} must be a dict, is {type(message).__name__}")
        if not isinstance(message.get("role"), str):
            raise ChatTemplateError(f"message {index} needs a role that is a string")
        if not isinstance(message.get("content"), str | list | tuple | dict | None):
            raise ChatTemplateError(f"the content of message {index} must be text or a list of parts")
        if message.get("content") is None and not message.get("tool_calls"):
            raise ChatTemplateError(f"message {index} needs a content (only one with tool_calls may do without)")


def _resource(fault: BaseException) -> str:
    return "memory" if isinstance(fault, MemoryError) else "stack: it recurses too deep"


def _place(trace: TracebackType | None) -> str:
    """Where in the template an error arose, as far as jinja says."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE_NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f", line {line}"
