"""Stop strings: cut exactly, however the text is split, and nothing shown that could become one."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from tiny_model import VOCAB, write_tiny

from wgpu_infer.engine.stop import StopMatcher
from wgpu_infer.llm import LLM
from wgpu_infer.sampling.params import SamplingParams


def run(stops, pieces):
    matcher = StopMatcher(stops)
    shown = [matcher.push(piece) for piece in pieces]
    return "".join(shown) + matcher.finish(), matcher.stopped


@pytest.mark.parametrize(
    "stops, pieces, text, stopped",
    [
        (["END"], ["one E", "N", "D two"], "one ", True),
        (["END"], ["one E", "N", "G"], "one ENG", False),
        (["END"], ["one EN"], "one EN", False),
        (["aab"], ["a", "a", "a", "b", "c"], "a", True),
        (["\n\n", "."], ["x\n", "y", "."], "x\ny", True),
        (["bc", "abcd"], ["abcd"], "a", True),
        ([], ["a", "b"], "ab", False),
    ],
)
def test_cases(stops, pieces, text, stopped):
    assert run(stops, pieces) == (text, stopped)


def test_any_split_gives_the_same_text():
    rng = random.Random(0)
    for _ in range(500):
        text = "".join(rng.choice("ab") for _ in range(30))
        stops = ["".join(rng.choice("ab") for _ in range(rng.randint(1, 6))) for _ in range(2)]
        cuts = sorted(rng.sample(range(31), 6))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, 30], strict=True)]
        shown, stopped = run(stops, pieces)
        assert (shown, stopped) == run(stops, list(text))
        assert not any(stop in shown for stop in stops)
        assert stopped == any(stop in text for stop in stops)
        assert text.startswith(shown)


def test_bytes_left_over_can_complete_a_stop_string(tmp_path):
    tokens = ["<unk>", "<s>", "</s>", *(chr(ord("a") + i) for i in range(VOCAB - 4)), "<0xE6>"]
    types = [2, 3, 3, *[1] * (VOCAB - 4), 6]
    path = write_tiny(
        tmp_path / "bytes.gguf", {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": np.array(types)}
    )
    params = SamplingParams(max_tokens=1, logit_bias={VOCAB - 1: 100.0}, stop=["\ufffd"])
    with LLM(path, device="reference") as llm:
        assert llm.generate("abc", replace(params, stop=())).text == "\ufffd"
        out = llm.generate("abc", params)
    assert (out.text, out.finish_reason, out.token_ids) == ("", "stop", [VOCAB - 1])


def test_nothing_pending_is_shown_early():
    matcher = StopMatcher(["stop"])
    assert matcher.push("say st") == "say "
    assert matcher.push("o") == ""
    assert matcher.push("w") == "stow"
