"""Which tokens end a generation, and which are control tokens whatever their type in the file says.

Model files often leave this unsaid or say it wrongly, so llama.cpp finds such tokens by their names; so does this, by
the same names (src/llama-vocab.cpp). Where several names of one role are in a vocabulary, the first in the table is
taken. (llama.cpp takes whichever its hash table yields first.)
"""

from __future__ import annotations

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # tokenizer.ggml.token_type

_DEEPSEEK_END = "<｜end▁of▁sentence｜>"

# role: names by which a token of that role is found where the metadata names none
ROLE_NAMES: dict[str, tuple[str, ...]] = {
    "eot": (
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        _DEEPSEEK_END,
        "<end_of_utterance>",
    ),
    "eom": ("<|eom_id|>",),
    "fim_pre": (
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<｜fim▁begin｜>",
        "<PRE>",
        "▁<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ),
    "fim_suf": (
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<｜fim▁hole｜>",
        "<SUF>",
        "▁<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ),
    "fim_mid": (
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<｜fim▁end｜>",
        "<MID>",
        "▁<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}

END_NAMES = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    _DEEPSEEK_END,
    "[e~[",
)

END_ROLES = ("fim_pad", "fim_rep", "fim_sep", "eos", "eot", "eom")
SHOWN_NAMES = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")  # gpt-oss: part of the text

# (these tokens all end a generation, then this one does not, and its type is)
NOT_END: tuple[tuple[frozenset[str], str, int], ...] = (
    (frozenset(("<|return|>", "<|call|>")), "<|end|>", USER_DEFINED),
    (frozenset(("<|return|>", "<|calls|>")), "<|end|>", USER_DEFINED),
    (frozenset(("<|call|>", "<|flush|>")), "<|end|>", USER_DEFINED),
    (frozenset(("<|calls|>", "<|flush|>")), "<|end|>", USER_DEFINED),
    (frozenset(("<|tool_response>",)), "</s>", NORMAL),
    (frozenset(("<|plamo:eos|>",)), "</s>", NORMAL),
)


def find_end_tokens(
    texts: list[str], index: dict[str, int], types: list[int], ids: dict[str, int | None]
) -> frozenset[int]:
    """Ids that end a generation. Completes `ids` by role and corrects `types`, both in place."""
    for role, names in ROLE_NAMES.items():
        found = next((index[name] for name in names if name in index), None)
        if ids.get(role) is None and found is not None:
            ids[role] = found
            types[found] = CONTROL
    ends = {index[name] for name in END_NAMES if name in index}
    for token in ends:
        types[token] = CONTROL
    ends.update(end for role in END_ROLES if (end := ids.get(role)) is not None)
    for name in SHOWN_NAMES:
        if name in index:
            types[index[name]] = USER_DEFINED
    end_names = {texts[token] for token in ends}
    for together, name, new_type in NOT_END:
        if together <= end_names and index.get(name) in ends:
            ends.remove(index[name])
            types[index[name]] = new_type
    return frozenset(ends)
