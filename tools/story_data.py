"""From stories to training rows: the byte-level BPE vocabulary, encoding, and packing.

A row is `length` + 1 token ids and starts a story (BOS story EOS BOS story ...); the last story of a row is cut. Every
epoch packs the stories in a new order, drawn from (seed, epoch), so a run is repeatable from its seed alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
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


def batches(stories: Sequence[np.ndarray], seed: int, size: int, length: int) -> Iterator[np.ndarray]:
    """Endless batches (size, length + 1), epoch after epoch."""
    epoch = 0
    while True:
        rng = np.random.default_rng((seed, epoch))
        rows = pack(stories, rng.permutation(len(stories)), length)
        for start in range(0, len(rows) - size + 1, size):
            yield rows[start : start + size]
        epoch += 1
