"""Measures what the default model writes: how different its stories are, and how much it repeats its training text.

Generates one story per seed from an empty prompt (BOS alone) with the default sampler chain, regenerates the training
corpus, and prints the shares that the model card quotes. `--corpus-only` measures the story generator instead, with
stories it would write for unseen seeds. Leaves out judging whether a story is good: read some with --show.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import numpy as np
import story_corpus
import story_words
from story_windows import repeated_share, window_hashes

FRESH_SEED = 10_000_000
NAMES = {*story_words.GIRLS, *story_words.BOYS, *story_words.CRITTERS}
KINDS = "|".join(story_words.ANIMALS)


def generate(model: Path | None, device: str, seeds: range) -> list[tuple[str, str]]:
    """(text, finish reason) for each seed, from BOS alone."""
    import wgpu_infer as wi

    with wi.LLM(model, device=device) as llm:
        results = [llm.generate("", wi.SamplingParams(seed=seed)) for seed in seeds]
    return [(result.text.strip(), result.finish_reason) for result in results]


def named(text: str) -> set[str]:
    """Children and animals that the story names."""
    return NAMES & set(re.findall(r"[A-Z][a-z]+", text))


def keeps_hero(text: str) -> bool:
    """Whether somebody named in the first third is named in the last third too."""
    third = len(text) // 3
    return bool(named(text[:third]) & named(text[-third:]))


def keeps_cast(text: str) -> bool:
    """Whether nobody is named for the first time in the last quarter, and at most two of them are named at all."""
    quarter = len(text) // 4
    return named(text[-quarter:]) <= named(text[:-quarter]) and len(named(text)) <= 2


def keeps_kinds(text: str) -> bool:
    """Whether every animal called "the fox" and the like had been mentioned before as a fox."""
    mentions = re.finditer(rf"\bthe ({KINDS})\b", text)
    return all(re.search(rf"\b{mention[1]}\b", text[: mention.start()]) for mention in mentions)


def measure(texts: list[str], stories: int) -> dict[str, float | int]:
    """The figures; shares are of 1. `stories` is the size of the training corpus that is regenerated."""
    ids: dict[str, int] = {}
    corpus = np.sort(window_hashes(story_corpus.stories(stories), ids))
    lengths = [len(text.split()) for text in texts]
    return {
        "stories": len(texts),
        "different": len(set(texts)),
        "different_openings": len({" ".join(text.split()[:12]) for text in texts}),
        "repeated_12_word_windows": round(repeated_share(texts, corpus, ids), 4),
        "keep_hero": sum(map(keeps_hero, texts)),
        "keep_cast": sum(map(keeps_cast, texts)),
        "keep_kinds": sum(map(keeps_kinds, texts)),
        "mean_words": round(sum(lengths) / len(lengths), 1),
        "fewest_words": min(lengths),
        "most_words": max(lengths),
    }


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), default=None, help="A GGUF; else the default.")
@click.option("--device", default="cpu")
@click.option("--seeds", default=100, help="Stories to generate, seeds 0 up.")
@click.option("--stories", default=50_000, help="Training stories to compare with.")
@click.option("--show", default=0, help="Stories to print.")
@click.option("--corpus-only", is_flag=True, help="Measure the story generator, not the model.")
def main(model: Path | None, device: str, seeds: int, stories: int, show: int, corpus_only: bool) -> None:
    """Print, as JSON, how the model's stories differ from each other and from the training text."""
    if corpus_only:
        written = [(text, "eos") for text in story_corpus.stories(seeds, FRESH_SEED)]
    else:
        written = generate(model, device, range(seeds))
    for text, _ in written[:show]:
        click.echo(text + "\n")
    figures = measure([text for text, _ in written], stories)
    ended = sum(reason != "length" for _, reason in written)
    click.echo(json.dumps({**figures, "ended_by_themselves": ended}, indent=2))


if __name__ == "__main__":
    main()
