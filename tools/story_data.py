"""From stories to training rows: the byte-level BPE vocabulary, encoding, and batches.

Rows are of two kinds: packed ones, `length` + 1 token ids that start a story (BOS story EOS BOS story ...) and cut the
last one, which train every position; and single stories, where nobody else's names are in sight, which teach the model
to keep its characters. Every epoch takes the stories in a new order, drawn from (seed, epoch), so a run is repeatable
from its seed alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import story_words as words
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

BOS, EOS = "<s>", "</s>"
BOS_ID, EOS_ID = 0, 1


def train_tokenizer(texts: Iterable[str], vocab: int) -> Tokenizer:
    """A BPE of `vocab` tokens: BOS, EOS, all 256 bytes, then merges; GPT-2's pre-tokenizer and byte letters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode_stories(tokenizer: Tokenizer, texts: Sequence[str], chunk: int = 1000) -> list[np.ndarray]:
    """Token ids of each story with BOS and EOS, uint16."""
    encoded = []
    for start in range(0, len(texts), chunk):
        for item in tokenizer.encode_batch(list(texts[start : start + chunk]), add_special_tokens=False):
            encoded.append(np.array([BOS_ID, *item.ids, EOS_ID], dtype=np.uint16))
    return encoded


def pack(stories: Sequence[np.ndarray], order: Iterable[int], length: int) -> np.ndarray:
    """Rows (rows, length + 1), each beginning with a story's BOS; an unfinished last row is dropped."""
    rows, row, filled = [], [], 0
    for index in order:
        row.append(stories[index])
        filled += len(stories[index])
        if filled > length:
            rows.append(np.concatenate(row)[: length + 1])
            row, filled = [], 0
    return np.stack(rows)


def pad(stories: Sequence[np.ndarray], length: int) -> np.ndarray:
    """The stories as rows of equal length (rows, at most length + 1), filled up with EOS."""
    rows = np.full((len(stories), min(length + 1, max(map(len, stories)))), EOS_ID, dtype=np.uint16)
    for row, story in zip(rows, stories, strict=True):
        row[: len(story)] = story[: length + 1]
    return rows


def single_batches(
    stories: Sequence[np.ndarray], seed: int, size: int, length: int, pool: int = 10
) -> Iterator[np.ndarray]:
    """Endless batches of `size` single stories of about equal length: each `pool` batches are sorted by length."""
    epoch = 0
    while True:
        rng = np.random.default_rng((seed, epoch, 1))
        order = rng.permutation(len(stories))
        for start in range(0, len(order) - size * pool + 1, size * pool):
            by_length = sorted(order[start : start + size * pool], key=lambda index: len(stories[index]))
            for batch in rng.permutation(pool):
                yield pad([stories[index] for index in by_length[batch * size : (batch + 1) * size]], length)
        epoch += 1


def batches(stories: Sequence[np.ndarray], seed: int, size: int, length: int) -> Iterator[np.ndarray]:
    """Endless batches (size, length + 1) of packed rows, epoch after epoch."""
    epoch = 0
    while True:
        rng = np.random.default_rng((seed, epoch))
        rows = pack(stories, rng.permutation(len(stories)), length)
        for start in range(0, len(rows) - size + 1, size):
            yield rows[start : start + size]
        epoch += 1


@dataclass(frozen=True)
class Cast:
    """(vocab,) bool each: tokens that are a whole word a story must stay true to.

    `main`: names and things. `side`: kinds of animals, elders, places, fruit, what is built. `first`: all but the last
    two, the words that training begins with.
    """

    first: np.ndarray
    main: np.ndarray
    side: np.ndarray


def cast_tokens(tokenizer: Tokenizer) -> Cast:
    """The tokens of the cast in this vocabulary."""
    main = [*words.GIRLS, *words.BOYS, *words.CRITTERS, *words.OBJECTS]
    side = [*words.ELDER_WOMEN, *words.ELDER_MEN, *words.ANIMALS, *(place for place, _ in words.PLACES)]
    rest = [*words.LISTS["fruit"], *words.LISTS["craft"]]
    return Cast(*(_whole_words(tokenizer, kept) for kept in (main + side, main, side + rest)))


def _whole_words(tokenizer: Tokenizer, kept: Sequence[str]) -> np.ndarray:
    mask = np.zeros(tokenizer.get_vocab_size(), dtype=bool)
    for word in kept:
        ids = tokenizer.encode(f" {word}", add_special_tokens=False).ids
        mask[ids] = len(ids) == 1
    return mask


def recalled(rows: np.ndarray, is_cast: np.ndarray) -> np.ndarray:
    """(rows, tokens) bool: cast tokens that occurred earlier in their row."""
    mask = is_cast[rows]
    for row, marks in zip(rows, mask, strict=True):
        marks[np.unique(row, return_index=True)[1]] = False
    return mask
