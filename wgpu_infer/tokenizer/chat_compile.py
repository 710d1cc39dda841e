"""Compiling a chat template, with counting built in.

Jinja's sandbox limits what a template can reach but not how long it runs: two nested loops over range(99999) are ten
billion turns. So the syntax tree is changed before it becomes code: each loop body begins with a call that counts the
turn and the literal text in it, as do conditions of loops, branches and macros; `~` and slices, which jinja compiles to
plain Python, become counted calls. Templates that load others are refused.
"""

from __future__ import annotations

import re
from types import CodeType

from jinja2 import TemplateSyntaxError, nodes

from wgpu_infer.errors import ChatTemplateError
from wgpu_infer.tokenizer.chat_budget import Budget
from wgpu_infer.tokenizer.chat_sandbox import Sandbox

FILE_NAME = "<chat template>"
MAX_SOURCE = 128 << 10  # characters; the longest of known models is 17,000
_LOADS = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


def compile_template(source: str) -> CodeType:
    """Code of a template, to be run with Sandbox.

    Raises ChatTemplateError, naming the line, for what is malformed, refused, too long or nested too deep.
    """
    if not isinstance(source, str):
        raise ChatTemplateError(f"a chat template must be a string, is {type(source).__name__}")
    if len(source) > MAX_SOURCE:
        raise ChatTemplateError(f"the chat template has {len(source)} characters; at most {MAX_SOURCE}")
    if "{{" not in source and "{%" not in source and (stray := re.search(r"[}%]\}", source)):
        line = source.count("\n", 0, stray.start()) + 1
        raise ChatTemplateError(f"chat template, line {line}: {stray.group()!r} closes what was never opened")
    sandbox = Sandbox(Budget())
    try:
        tree = sandbox.parse(source, filename=FILE_NAME)
        _Counting().visit(tree)
        return sandbox.compile(tree, filename=FILE_NAME)
    except ChatTemplateError:
        raise
    except TemplateSyntaxError as fault:
        raise ChatTemplateError(f"chat template, line {fault.lineno}: {fault.message}") from fault
    except (RecursionError, MemoryError, SyntaxError) as fault:
        raise ChatTemplateError("the chat template is nested too deep") from fault
    except Exception as fault:
        raise ChatTemplateError(f"the chat template cannot be compiled: {fault!s:.200}") from fault


class _Counting:
    """Changes a syntax tree in place."""

    def visit(self, node: nodes.Node) -> None:
        if isinstance(node, _LOADS):
            raise ChatTemplateError(
                f"chat template, line {node.lineno}: {type(node).__name__.lower()} is not allowed in a chat template"
            )
        for child in list(node.iter_child_nodes()):
            self.visit(child)
        for name in node.fields:
            value = getattr(node, name)
            if isinstance(value, list):
                setattr(node, name, [self._replaced(item) for item in value])
            else:
                setattr(node, name, self._replaced(value))
        repeats = isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock)
        for name in ("body", "else_"):
            if isinstance(body := getattr(node, name, None), list):
                setattr(node, name, self._counted(body, node.lineno, always=repeats))
        if isinstance(node, nodes.For) and node.test is not None:
            node.test = nodes.And(_tick(0, node.lineno), node.test, lineno=node.lineno)

    @staticmethod
    def _counted(body: list[nodes.Node], line: int, always: bool) -> list[nodes.Node]:
        texts = [child for item in body if isinstance(item, nodes.Output) for child in item.nodes]
        size = sum(len(text.data) for text in texts if isinstance(text, nodes.TemplateData))
        if not (size or always):
            return body
        return [nodes.ExprStmt(_tick(size, line), lineno=line), *body]

    @staticmethod
    def _replaced(node: object) -> object:
        """What stands for a `~` or a slice."""
        if isinstance(node, nodes.Concat):
            return _filter("_concat", nodes.List(node.nodes), [], node.lineno)
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            cuts = [node.arg.start, node.arg.stop, node.arg.step]
            return _filter("_cut", node.node, [nodes.Const(None) if cut is None else cut for cut in cuts], node.lineno)
        return node


def _filter(name: str, value: nodes.Expr, args: list[nodes.Expr], line: int) -> nodes.Filter:
    return nodes.Filter(value, name, args, [], None, None, lineno=line)


def _tick(characters: int, line: int) -> nodes.Filter:
    return _filter("_tick", nodes.Const(characters, lineno=line), [], line)
