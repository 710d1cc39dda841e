"""Chat templates: the documented texts of real ones, and Hugging Face's rendering of all of them as the oracle."""

from __future__ import annotations

import datetime
import json

import pytest

from wgpu_infer.errors import ChatTemplateError
from wgpu_infer.tokenizer.chat_template import CHATML, ChatTemplate

NOW = datetime.datetime(2025, 3, 4, 5, 6, 7)
TEMPLATES = [
    "HuggingFaceTB-SmolLM3-3B",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
    "Qwen-Qwen2.5-7B-Instruct",
    "Qwen-Qwen3-0.6B",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
    "google-gemma-2-2b-it",
    "meta-llama-Llama-3.1-8B-Instruct",
    "meta-llama-Llama-3.2-3B-Instruct",
    "microsoft-Phi-3.5-mini-instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
]
CALL = {"name": "get_weather", "arguments": {"city": "Paris", "days": 3, "tags": [1, 2, {"a": None}]}}
CONVERSATIONS = {
    "one": [{"role": "user", "content": "Hello!"}],
    "system": [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": '  Hi <b>&amp; "you" {{ 7*7 }} {% if %}\n'},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHey."},
        {"role": "user", "content": "日本 🦙?"},
    ],
    "alternating": [{"role": role, "content": role[0]} for role in ("user", "assistant") * 2],
    "not alternating": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    "tool call": [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type": "function", "function": CALL}]},
        {"role": "tool", "content": '{"t": 21}', "tool_call_id": "abcdefghi", "name": "get_weather"},
        {"role": "assistant", "content": "21 °C"},
        {"role": "user", "content": "thanks"},
    ],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "you"}]}],
    "developer": [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}],
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'Gets the "weather"',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "the city"},
                "unit": {"type": ["string", "null"], "enum": ["c", "f"], "description": "u"},
            },
            "required": ["city"],
        },
        "return": {"type": "number", "description": "temperature"},
    },
}
PLAIN_TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer", "description": "one"}}},
    },
}
SHORT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]
DOCUMENTED = {
    "Qwen-Qwen2.5-7B-Instruct": (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "google-gemma-2-2b-it": (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    ),
    "microsoft-Phi-3.5-mini-instruct": (
        "<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n"
    ),
    "meta-llama-Llama-3.2-3B-Instruct": (
        "<bos><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 04 Mar 2025\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistralai-Mistral-Nemo-Instruct-2407": "<bos>[INST]Hi[/INST]Hello<eos>[INST]Bye[/INST]",
}


def load(shared, name: str) -> tuple[str, ChatTemplate]:
    source = shared("templates", f"{name}.jinja").read_text(encoding="utf-8")
    return source, ChatTemplate(source, "<bos>", "<eos>", clock=lambda: NOW)


@pytest.mark.shared
@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_text(shared, name):
    assert load(shared, name)[1].render(SHORT) == DOCUMENTED[name]


@pytest.fixture
def hugging_face(monkeypatch):
    """transformers' own rendering with the clock stopped; the error's type where it refuses."""
    utils = pytest.importorskip("transformers.utils.chat_template_utils")

    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return NOW

    monkeypatch.setattr(utils, "datetime", Stopped)

    def render(source, messages, add_generation_prompt, tools, **extra):
        given = json.loads(json.dumps(messages))
        options = {"bos_token": "<bos>", "eos_token": "<eos>", **extra}
        try:
            texts, _ = utils.render_jinja_template(
                [given], tools, chat_template=source, add_generation_prompt=add_generation_prompt, **options
            )
        except Exception as fault:
            return type(fault)
        return texts[0]

    return render


@pytest.mark.shared
@pytest.mark.parametrize("name", TEMPLATES)
def test_renders_what_hugging_face_renders(shared, hugging_face, name):
    source, template = load(shared, name)
    rendered = 0
    for conversation, messages in CONVERSATIONS.items():
        for tools in (None, [TOOL], [PLAIN_TOOL]):
            for prompt in (True, False):
                for extra in ({}, {"enable_thinking": False}):
                    wanted = hugging_face(source, messages, prompt, tools, **extra)
                    if isinstance(wanted, type):
                        with pytest.raises(ChatTemplateError):
                            template.render(messages, prompt, tools=tools, **extra)
                    else:
                        assert template.render(messages, prompt, tools=tools, **extra) == wanted, conversation
                        rendered += 1
    assert rendered >= 8


SNIPPETS = [
    "{{ messages|tojson }}{{ messages[0]|tojson(indent=2) }}",
    "{{ messages|tojson(sort_keys=true, separators=(',', ':')) }}",
    "{{ messages|map(attribute='role')|join(', ') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}",
    "{% for m in messages %}{{ loop.index }}{{ loop.last }}{{ loop.length }}{{ m.content[:3] }}{% endfor %}",
    "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{{ m.role }}{% else %}none{% endfor %}",
    "{% for m in messages if m.role == 'user' recursive %}{{ m.content }}{% break %}{% endfor %}",
    "{% for x in [[1, [2]], 3] recursive %}{% if x is iterable %}{{ loop(x) }}{% else %}{{ x }}{% endif %}{% endfor %}",
    "{% macro m(x, y=2) %}[{{ x }}:{{ y }}{{ caller() if caller else '' }}]{% endmacro %}{{ m(1) }}{{ m('a', y=[1]) }}"
    "{% call m(3) %}body{% endcall %}",
    "{% set ns = namespace(n=0, t='') %}{% for i in range(5) %}{% set ns.n = ns.n + i %}"
    "{% set ns.t = ns.t ~ i ~ none %}{% endfor %}{{ ns.n }} {{ ns.t }}",
    "{{ 10 / 3 }} {{ 7 // 2 }} {{ 2 ** 10 }} {{ -7 % 3 }} {{ '%s-%d' % ('a', 4) }} {{ 1.5 * 2 - 1 }}",
    "{{ 'a,b'.split(',')[-1] }}{{ '{:>5}|{x}'.format('é', x=1) }}{{ '-'.join(['a', 'b']) }}{{ ' x '.strip() }}",
    "{{ {'b': 1, 'a': [2, none, true, 1.5]}|dictsort }}{{ {'k': 'v'}|items|list }}{{ {'k': 'v'}.items()|list }}",
    "{% generation %}{{ messages[0].role }}{% endgeneration %}{{ strftime_now('%d %b %Y') }}",
    "{{ nosuch }}{{ nosuch is defined }}{{ messages[0].get('role') }}{{ messages[0]['nosuch'] }}",
    "{% set x %}  block {{ 1 }}\n{% endset %}{{ x|trim }}{{ x|upper|replace('B', 'c') }}{{ 'a\nb'|indent(2) }}",
    "{{ 'x' * 3 }}{{ [1] * 2 + [3] }}{{ 'é'|tojson }}{{ 'é'|tojson(ensure_ascii=true) }}{{ (1, 2) }}{{ {'a': 'b\n'} }}",
    "  {% if true %}\n  text\n  {% endif %}\n{#- comment -#}  tail \n",
    "{{ 'a' if 1 > 2 else 'b' }}{{ 1 in [1] and 'b' not in 'abc' }}{{ [3, 1]|sort }}{{ [1, 5]|max }}{{ [1, 2]|sum }}",
    "{{ 'ab'|list|reverse|join }}{{ '3'|int + 1 }}{{ 'x'|default('y') }}{{ n|d('z') }}{{ 'abc'[::-1] }}",
    "{% filter upper %}a{{ 1 }}b{% endfilter %}{% with a = 1 %}{{ a }}{% endwith %}{{ messages is string }}",
]


@pytest.mark.parametrize("source", SNIPPETS)
def test_constructs_mean_what_they_mean_to_hugging_face(hugging_face, source):
    messages = CONVERSATIONS["system"]
    wanted = hugging_face(source, messages, True, None)
    assert isinstance(wanted, str), wanted
    assert ChatTemplate(source, "<bos>", "<eos>", clock=lambda: NOW).render(messages) == wanted


def test_messages_are_never_parsed_as_template():  # J13
    template = ChatTemplate("{{ messages[0].content }}{{ messages[0].content|trim ~ messages[0].content.strip() }}")
    text = "{{ 7*7 }}{% for i in x %}{# no #}"
    assert template.render([{"role": "user", "content": text}]) == text * 3


def test_the_time_is_the_clocks():  # J12
    source = "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}"
    assert ChatTemplate(source, clock=lambda: NOW).render(SHORT) == "2025-03-04 05:06:07"


def test_rendering_leaves_the_messages_alone():
    messages = json.loads(json.dumps(CONVERSATIONS["tool call"]))
    ChatTemplate("{{ messages|tojson }}").render(messages)
    assert messages == CONVERSATIONS["tool call"]


def test_a_long_conversation_renders():
    messages = [{"role": ("user", "assistant")[i % 2], "content": f"message {i}"} for i in range(20_000)]
    assert ChatTemplate(CHATML).render(messages).count("<|im_end|>") == 20_000
    long = [{"role": "user", "content": "x" * 10_000_000}]
    assert len(ChatTemplate(CHATML).render(long)) > 10_000_000


@pytest.mark.parametrize(
    "messages",
    [
        *(None, "x", [], {}, [123], [{}]),
        [{"role": 123}],
        [{"role": "user", "content": 123}],
        [{"role": "user", 3: "x"}],
        [{"role": "user", "content": object()}],
        [{"role": "user", "content": [b"bytes"]}],
    ],
)
def test_what_is_no_conversation_is_refused(messages):
    with pytest.raises(ChatTemplateError):
        ChatTemplate(CHATML).render(messages)


@pytest.mark.parametrize(
    "name", ["messages", "tokenize", "chat_template", "add_generation_prompt", "bos_token", "range"]
)
def test_reserved_variables_cannot_be_given(name):  # J11
    template = ChatTemplate("{{ x }}")
    assert template.render(SHORT, x="given") == "given"
    clash = name in ("messages", "add_generation_prompt")  # parameters of render: Python itself refuses
    with pytest.raises(TypeError) if clash else pytest.raises(ChatTemplateError, match=name):
        template.render(SHORT, True, **{name: "x"})
