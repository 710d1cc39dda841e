r"""The pre-tokenizers of byte-pair vocabularies: a table of every name that llama.cpp knows.

`tokenizer.ggml.pre` names how text is cut into words before any merge. Each name stands for a list of regular
expressions; each is applied in turn to the pieces left by the one before, and both what it matches and what lies
between its matches become pieces. They are written for the Oniguruma engine inside the `tokenizers` library and give
llama.cpp's words (its src/llama-vocab.cpp and unicode.cpp, which adapt the patterns of the models' tokenizer.json).

Differences in writing, not in words: where llama.cpp folds Unicode categories (it has no \p{Lu} and reads every cased
letter class as \p{L}) so do these; where its engine sees a non-ASCII space as a control character, classes here exclude
\s; and digit grouping, which is quadratic as usually written, is linear here. Patterns never come from a file.

Leaves out: `hybriddna` (six-letter words of DNA are no regular expression).
"""

from __future__ import annotations

from dataclasses import dataclass

CONTRACTION = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LLAMA3 = rf"{CONTRACTION}|{WORD}|\p{{N}}{{1,3}}|{SYMBOLS}|{SPACES}"
QWEN2 = rf"{CONTRACTION}|{WORD}|\p{{N}}|{SYMBOLS}|{SPACES}"
PUNCTUATED = (  # deepseek-v3 and its kin: punctuation sticks to the Latin word behind it
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{SPACES}"
)
HAN_KANA = r"[一-龥぀-ゟ゠-ヿ]+"
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
LINES = r"[^\n]+|[\n]+"
DEEPSEEK_CJK = r"[一-龥ࠀ-一가-퟿&&[^\s]]+"
HAN = r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2EBEF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}"
AFMOE_SCRIPTS = r"[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+"
YOUTU_SCRIPTS = r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏&&[^\s]]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"
CASED_LETTERS = (  # \p{Lu}\p{Ll}\p{Lt} of an older Unicode, as deepseek-llm lists them
    r"A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ"
    r"ὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-"
    r"ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)

# Groups of three digits counted from the right. The text before a number stays with its first group (as in llama.cpp;
# the next pattern cuts it off). Only the start of a number looks ahead to its end, so a long number costs linear time.
_WHOLE_GROUPS = r"(?=(?:\p{N}{3})*(?!\p{N}))"
DIGIT_GROUPS = rf"[^\p{{N}}]+(?:\p{{N}}{{1,3}}{_WHOLE_GROUPS})?|(?<!\p{{N}})\p{{N}}{{1,3}}{_WHOLE_GROUPS}|\p{{N}}{{3}}"
# The empty match (?=(\d{3})+(?!\d)), which cuts before each group of three, likewise in linear time.
_GROUPS_AHEAD = r"(?=(?:[0-9]{3})+(?![0-9]))"
SUPERBPE_GROUPS = (
    rf"(?<![0-9])[0-9]{{1,2}}\K{_GROUPS_AHEAD}|(?<![0-9])[0-9]{{3}}{_GROUPS_AHEAD}"
    r"|(?<![0-9])(?=[0-9]{3}(?![0-9]))|\G[0-9]{3}(?=[0-9])"
)


def _cased(letters: str, contraction: str, digits: str) -> str:
    """Words that end where a lower-case letter is followed by an upper-case one (ASCII case only, as in llama.cpp)."""
    upper, lower = rf"[{letters}&&[^a-z]]", rf"[{letters}&&[^A-Z]]"
    lead = r"[^\r\n\p{L}\p{N}]?"
    words = rf"{lead}{upper}*{lower}+{contraction}|{lead}{upper}+{lower}*{contraction}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"


FAMILIES: dict[str, list[str]] = {
    "llama3": [LLAMA3],
    "jais2": [
        # the look-behind keeps the first alternative from scanning one run of spaces again for every piece of it
        rf"{CONTRACTION}|{WORD}|\p{{N}}{{1,3}}|{SYMBOLS}|(?<![^\S\r\n])\s*[\r\n]+|\s{{512}}(?!\S)|\s{{256}}(?!\S)"
        r"|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s"
    ],
    "deepseek-llm": [
        r"[\r\n]",
        rf"\s?[{CASED_LETTERS}]+",
        r"\s?[!-/:-~！-／：-～‘-‟、-。]+",
        r"\s+\z",
        DEEPSEEK_CJK,
        r"\p{N}+",
    ],
    "deepseek-v3": [r"\p{N}{1,3}", HAN_KANA, PUNCTUATED],
    "spark": [
        r"\p{N}{1,3}",
        HAN_KANA,
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+",
        r"\p{N}",
    ],
    "youtu": [
        YOUTU_SCRIPTS,
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+{CONTRACTION}?|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}",
    ],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, r"\p{N}"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
    "starcoder": [r"\p{N}", GPT2],
    "gpt2": [GPT2],
    "qwen2": [QWEN2],
    "qwen35": [
        rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"
    ],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "tekken": [_cased(r"\p{L}", "", r"\p{N}")],
    "chameleon": [
        r"<sentinel:[0-9]+>",
        r"IMGIMG[A-I]{1,4}Z",
        r"[\t\n]|    |  ",
        r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]",
        GPT2,
    ],
    "gpt-4o": [_cased(r"\p{L}", rf"{CONTRACTION}?", r"\p{N}{1,3}")],
    "granite-multi": [_cased(r"\p{L}\p{M}", rf"{CONTRACTION}?", r"\p{N}{1,3}")],
    "tiny-aya": [
        DIGIT_GROUPS,
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+{CONTRACTION}?|\p{{N}}{{1,3}}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}",
    ],
    "kimi-k2": [
        rf"[{HAN}]+|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{HAN}]]+{CONTRACTION}?|\p{{N}}{{1,3}}|{SYMBOLS}|{SPACES}"
    ],
    "superbpe": [r"\p{N}+", SUPERBPE_GROUPS],
    "bailing": [rf"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|{WORD}|\p{{N}}|{SYMBOLS}|\s*[\r\n]|\s+(?!\S)|\s+"],
    "seed-coder": [rf"{CONTRACTION}|{WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{SPACES}"],
    "ufakzeka": [rf"{WORD}|\p{{N}}|{SYMBOLS}|{SPACES}"],
    "afmoe": [DIGIT_GROUPS, AFMOE_SCRIPTS, PUNCTUATED],
    "laguna": [LINES, QWEN2],
    "exaone-moe": [
        rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "lines": [LINES],
    "minicpm5": [r"\p{N}{1,3}", rf"{CONTRACTION}|{WORD}|\p{{N}}+|{SYMBOLS}|{SPACES}"],
    "whitespace": [r"\S+"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
}


@dataclass(frozen=True)
class PreTokenizer:
    """What a name in `tokenizer.ggml.pre` stands for.

    Attributes:
        family: key of FAMILIES.
        ignore_merges: a word that is a token is that token, whatever its merges would give.
        add_bos: BOS goes in front unless the metadata says otherwise.
        force_bos: BOS goes in front whatever the metadata says.
        bos_default: id of BOS and EOS where the metadata names none.
        byte_level: words are spelled in GPT-2's byte alphabet; if not, in UTF-8 with <0xXX> tokens for the rest.
        escape_spaces: a space is written U+2581 in the vocabulary.
        newline_tokens: a run of newlines that is a token is that token.
        clean_spaces: llama.cpp's detokenizer would remove spaces before punctuation (we never do; see Tokenizer).
    """

    family: str
    ignore_merges: bool = False
    add_bos: bool = False
    force_bos: bool = False
    bos_default: int | None = 11
    byte_level: bool = True
    escape_spaces: bool = False
    newline_tokens: bool = False
    clean_spaces: bool = False

    @property
    def patterns(self) -> list[str]:
        """The regular expressions, in the order in which they cut."""
        return FAMILIES[self.family]


def _named(names: str, pre: PreTokenizer) -> dict[str, PreTokenizer]:
    return dict.fromkeys(names.split(), pre)


_GEMMA4 = PreTokenizer("lines", force_bos=True, byte_level=False, escape_spaces=True, newline_tokens=True)

PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    **_named("default", PreTokenizer("default", clean_spaces=True)),
    **_named(
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
        PreTokenizer("llama3", ignore_merges=True, add_bos=True, clean_spaces=True),
    ),
    **_named("dbrx smaug-bpe", PreTokenizer("llama3", clean_spaces=True)),
    **_named("chatglm-bpe", PreTokenizer("llama3", bos_default=None, clean_spaces=True)),
    **_named("glm4 glm5", PreTokenizer("llama3", ignore_merges=True, bos_default=None, clean_spaces=True)),
    **_named("jais-2", PreTokenizer("jais2", clean_spaces=True)),
    **_named("minicpm5", PreTokenizer("minicpm5", ignore_merges=True, clean_spaces=True)),
    **_named("deepseek-llm", PreTokenizer("deepseek-llm")),
    **_named("deepseek-coder", PreTokenizer("deepseek-coder")),
    **_named("deepseek-v3 hunyuan-dense joyai-llm hy_v4", PreTokenizer("deepseek-v3")),
    **_named("spark2_5", PreTokenizer("spark")),
    **_named("youtu", PreTokenizer("youtu", ignore_merges=True)),
    **_named("falcon", PreTokenizer("falcon", clean_spaces=True)),
    **_named("starcoder refact codeshell exaone minerva-7b mellum2", PreTokenizer("starcoder", clean_spaces=True)),
    **_named("command-r smollm", PreTokenizer("starcoder")),
    **_named(
        "gpt-2 phi-2 mpt olmo jais jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code gigachat a.x-4.0 "
        "mellum modern-bert roberta-bpe exaone4",
        PreTokenizer("gpt2", clean_spaces=True),
    ),
    **_named("trillion granite-docling", PreTokenizer("gpt2")),
    **_named("stablelm2", PreTokenizer("qwen2", clean_spaces=True)),
    **_named("megrez", PreTokenizer("qwen2", clean_spaces=True)),
    **_named("qwen2 deepseek-r1-qwen kormo f2llmv2 hunyuan solar-open grok-2", PreTokenizer("qwen2")),
    **_named("qwen35", PreTokenizer("qwen35")),
    **_named("poro-chat", PreTokenizer("bloom")),
    **_named("bloom gpt3-finnish", PreTokenizer("bloom", clean_spaces=True)),
    **_named("viking", PreTokenizer("viking")),
    **_named("tekken", PreTokenizer("tekken", ignore_merges=True, add_bos=True)),
    **_named("chameleon", PreTokenizer("chameleon", add_bos=True)),
    **_named("gpt-4o llama4 kanana2 talkie minimax-m2", PreTokenizer("gpt-4o")),
    **_named("granite-embed-multi-97m", PreTokenizer("granite-multi", ignore_merges=True)),
    **_named("tiny_aya cohere2moe", PreTokenizer("tiny-aya")),
    **_named("kimi-k2", PreTokenizer("kimi-k2")),
    **_named("superbpe", PreTokenizer("superbpe")),
    **_named("bailingmoe bailingmoe2 llada-moe", PreTokenizer("bailing")),
    **_named("seed-coder", PreTokenizer("seed-coder")),
    **_named("ufakzeka", PreTokenizer("ufakzeka")),
    **_named("afmoe", PreTokenizer("afmoe")),
    **_named("laguna", PreTokenizer("laguna")),
    **_named("exaone-moe", PreTokenizer("exaone-moe", clean_spaces=True)),
    **_named("gemma4 granite-embed-multi-311m", _GEMMA4),
    **_named("sarvam-moe", PreTokenizer("lines", byte_level=False, escape_spaces=True)),
    **_named("whitespace", PreTokenizer("whitespace", byte_level=False, clean_spaces=True)),
}
