"""Chat templates are code from strangers: each case of J01-J12 of the fault list ends as a ChatTemplateError, soon."""

from __future__ import annotations

import os
import time

import pytest
from conftest import patience

from wgpu_infer.errors import ChatTemplateError, ModelFormatError
from wgpu_infer.tokenizer.chat_template import ChatTemplate

MESSAGES = [{"role": "user", "content": "hello <b> " * 20}]
BIG = "{% set x = 'a' * 1000000 %}"

ESCAPES = {  # J01, J02
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class alone": "{{ messages.__class__ }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('touch FILE').read() }}",
    "lipsum": '{{ lipsum.__globals__["os"].system("touch FILE") }}',
    "namespace": "{{ namespace.__init__.__globals__ }}",
    "function": "{{ strftime_now.__globals__ }}",
    "method": "{{ strftime_now.__self__ }}",
    "macro": "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "self": "{{ self._TemplateReference__context }}",
    "loop": "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
    "item": '{{ messages["__class__"] }}',
    "format": '{{ "{0.__class__}".format(messages) }}',
    "format by name": '{{ "{a.__class__}".format(a=1) }}',
    "format later": '{% set f = "{0.__class__}".format %}{{ f(1) }}',
    "format map": '{{ "{a.__class__}".format_map({"a": 1}) }}',
    "format filter": '{{ ["{0.__class__}"]|map("format", 1)|list }}',
    "attr": '{{ messages|attr("__class__") }}',
    "map attribute": '{{ messages|map(attribute="__class__")|list }}',
    "sum attribute": '{{ messages|sum(attribute="__class__") }}',
    "groupby": '{{ messages|groupby("__class__") }}',
    "mutation": "{{ messages.append(1) }}",
    "bytes": "{{ 'a'.encode('utf-8') }}",
    "to_bytes": "{{ (1).to_bytes(10**9, 'big') }}",
    "environment": "{{ os.environ }}",  # J12
    "time": "{{ time() }}",
}


@pytest.mark.parametrize("name", ESCAPES)
def test_escapes_are_refused_without_effect(name, tmp_path):
    target = tmp_path / "made"
    with pytest.raises(ChatTemplateError):
        ChatTemplate(ESCAPES[name].replace("FILE", str(target))).render(MESSAGES)
    assert not os.path.exists(target)


@pytest.mark.parametrize(
    "source",
    [
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% extends 'x' %}",
        "{% block a %}{% endblock %}",
    ],
)
def test_other_templates_cannot_be_loaded(source):  # J03
    with pytest.raises(ChatTemplateError, match=r"line 2.*not allowed"):
        ChatTemplate("\n" + source)


def growing(step: str, start: str = "'aaaa'", end: str = "") -> str:
    """A value n.x that is made of itself sixty times."""
    return f"{{% set n = namespace(x={start}) %}}{{% for i in range(60) %}}{{% set n.x = {step} %}}{{% endfor %}}{end}"


TOO_MUCH = {  # J04, J08
    "text": "{{ 'a' * 10**10 }}",
    "power": "{{ 10**10**8 }}",
    "list": "{{ [0] * 10**9 }}",
    "product": growing("n.x * n.x", "99999999"),
    "literal": "{{ " + "9" * 6000 + " }}",
    "float": "{{ 10.0 ** 400 }}",
    "doubling ~": growing("n.x ~ n.x"),
    "doubling +": growing("n.x + n.x"),
    "doubling join": growing("[n.x, n.x]|join"),
    "doubling block": "{% set x %}aaaa{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "doubling list": growing("[n.x, n.x]", "[1]", "{{ n.x }}"),
    "shared json": growing("[n.x, n.x]", "[1]", "{{ n.x|tojson }}"),
    "shared text": growing("[n.x, n.x]", "[1]", "{{ n.x|string }}"),
    "method replace": BIG + "{{ x.replace('a', x) }}",
    "filter replace": BIG + "{{ x|replace('a', x) }}",
    "method join": BIG + "{{ x.join(x) }}",
    "filter join": BIG + "{{ range(99999)|join(x) }}",
    "many fields": BIG + "{{ '{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}'.format(x) }}",
    "many %s": BIG + "{{ '%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s' % ([x] * 20) }}",
    "format filter": "{{ '%1000000000d'|format(1) }}",
    "split": "{{ ('a' * 1000000).split('a')|length }}",
    "slices": BIG + "{% for i in range(99999) %}{% set y = x[1:] %}{% endfor %}",
    "%": "{{ '%1000000000d' % 1 }}",
    "%*": "{{ '%*d' % (10**9, 1) }}",
    "{:>}": "{{ '{:>1000000000}'.format(1) }}",
    "{:{}}": "{{ '{:{w}}'.format(1, w=10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**12) }}",
    "center": "{{ 'a'|center(10**9) }}",
    "expandtabs": "{{ '\t'.expandtabs(10**9) }}",
    "indent": "{{ 'a\n'|indent(10**9) }}",
    "json indent": "{{ [1]|tojson(indent=10**9) }}",
    "round": "{{ 1.5|round(10**9) }}",
    "literal in a loop": "{% for i in range(99999) %}" + "x" * 100_000 + "{% endfor %}",
    "literal in a macro": "{% macro m() %}"
    + "x" * 100_000
    + "{% endmacro %}{% for i in range(9999) %}{% set y = m() %}{% endfor %}",
    "sum of lists": "{% set y = [[1], [2]]|sum(start=[]) %}",
    "growing list": "{% set n = namespace(l=[]) %}{% for i in range(99999) %}{% set n.l = n.l + [i] %}{% endfor %}",
    "time format": "{{ strftime_now('%1000000000Y') }}",
    "by zero": "{{ 1 / 0 }}",
    "modulo zero": "{{ 1 % 0 }}",
    "floats by zero": "{{ 0.0 / 0.0 }}",
}
TOO_LONG = {  # J05
    "two loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "two loops with a body": "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
    "conditions": "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "filters": "{% for i in range(99999) %}{{ range(99999)|sum }}{% endfor %}",
    "lazy filters": "{% for i in range(99999) %}{% set x = range(99999)|map('string')|list %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}",
    "recursive loop": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "range": "{% for i in range(10**9) %}{% endfor %}",
}
TOO_DEEP = {  # J06
    "macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "chain": "".join(f"{{% macro m{i}() %}}{{{{ m{i + 1}() }}}}{{% endmacro %}}" for i in range(2000)) + "{{ m0() }}",
    "if": "{% if true %}" * 6000 + "x" + "{% endif %}" * 6000,
    "parentheses": "{{ " + "(" * 10_000 + "1" + ")" * 10_000 + " }}",
    "lists": "{{ " + "[" * 300 + "]" * 300 + " }}",
    "not": "{{ " + "not " * 5000 + "1 }}",
    "for": "{% for i in [1] %}" * 30 + "{% endfor %}" * 30,
    "sum": "{{ 1" + "+1" * 20_000 + " }}",
    "attributes": "{{ x" + ".a" * 5000 + " }}",
}
EXPENSIVE = {**TOO_MUCH, **TOO_LONG, **TOO_DEEP}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_expensive_templates_are_stopped(name):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(ChatTemplateError) as caught:
        ChatTemplate(EXPENSIVE[name]).render(MESSAGES)
    assert time.process_time() - start < patience() * (
        4.0 if name == "chain" else 1.0
    )  # a chain takes long to compile, not to run
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # KiB
    assert len(str(caught.value)) < 700


def test_time_ends_what_no_count_sees():
    comparisons = "{% if " + " and ".join(["x == y"] * 30) + " %}{% endif %}"
    source = BIG + "{% set y = 'a' * 1000000 %}{% for i in range(99999) %}" + comparisons + "{% endfor %}"
    start = time.process_time()
    with pytest.raises(ChatTemplateError, match="longer than"):
        ChatTemplate(source).render(MESSAGES)
    assert time.process_time() - start < 2.0 * patience()


@pytest.mark.parametrize(
    "source, line",
    [
        ("{{ x", 1),
        ("\n\n{% if %}", 3),
        ("{% endfor %}", 1),
        ("}}}}", 1),
        ("a\n{% if x %}\nb", 3),
        ("{# x", 1),
        ("{{ 'abc }}", 1),
        ("\n{% nosuch %}", 2),
        ("{{ 1|nosuch }}", 1),
        ("{{ 1 is nosuch }}", 1),
    ],
)
def test_malformed_templates_name_the_line(source, line):  # J07
    with pytest.raises(ChatTemplateError, match=f"line {line}"):
        ChatTemplate(source)


@pytest.mark.shared
def test_every_prefix_of_a_real_template_compiles_or_is_refused(shared):  # J07
    source = shared("templates", "meta-llama-Llama-3.2-3B-Instruct.jinja").read_text()
    refused = 0
    for end in range(0, len(source), 7):
        try:
            ChatTemplate(source[:end])
        except ChatTemplateError as fault:
            refused += "line" in str(fault)
    assert refused > 300


def test_a_template_refuses_its_messages_in_its_own_words():  # J09
    with pytest.raises(ChatTemplateError, match=r"^roles must alternate$"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(MESSAGES)
    with pytest.raises(ChatTemplateError) as caught:
        ChatTemplate("{{ raise_exception('x' * 100000) }}").render(MESSAGES)
    assert len(str(caught.value)) <= 500


@pytest.mark.parametrize(
    "source", ["{{ messages[0].nosuch.field }}", "{{ nosuch.a }}", "{{ nosuch() }}", "{{ messages[9].role }}"]
)
def test_what_is_missing_is_named_with_its_line(source):  # J09
    with pytest.raises(ChatTemplateError, match=r"line 2: .*(nosuch|element 9)"):
        ChatTemplate("\n" + source).render(MESSAGES)


@pytest.mark.parametrize("source", ["x" * 100_000_000, b"bytes", None, 7])
def test_sources_that_are_no_template(source):  # J10
    with pytest.raises(ChatTemplateError):
        ChatTemplate(source)


def test_a_template_that_is_no_text_is_a_fault_of_the_file(caplog):  # J10
    from tokenizer_oracle import spm

    from wgpu_infer.tokenizer.tokenizer import Tokenizer

    with pytest.raises(ModelFormatError, match="chat_template"):
        Tokenizer.from_metadata(spm(["a"]) | {"tokenizer.chat_template": 5})
    assert Tokenizer.from_metadata(spm(["a"]) | {"tokenizer.chat_template": ""}).chat_template is None
    assert "empty" in caplog.text
