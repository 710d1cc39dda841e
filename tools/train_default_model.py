"""Trains the embedded default model on generated stories and writes wgpu_infer/data/stories.gguf.

One CPU thread, bfloat16 matrix products, Muon for matrices and AdamW for the rest. First packed rows of 512 tokens,
which teach every position; then single stories; then names and things that a story mentions again weigh more, because
copying them is learned last and a story that forgets its hero is no story. The learning rate warms up, stays, and falls
linearly to zero over the last 45 % of the steps, the extra weight with it. With --minutes the number of steps is fixed
once 55 % of the time is gone, so a run ends about on time and `--steps` with the printed number repeats it. Leaves
out: any data but story_corpus's, and bitwise repetition on another CPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import story_corpus
import torch
import torch.nn.functional as F
from story_data import (
    BOS_ID,
    EOS_ID,
    Cast,
    batches,
    cast_tokens,
    encode_stories,
    recalled,
    single_batches,
    train_tokenizer,
)
from story_gguf import write_gguf
from story_model import ModelConfig, StoryModel
from story_noise import add_noise
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
FRESH_SEED = 10_000_000  # far beyond any training story
DECAY_FROM = 0.55
WARM_UP = 100
MAIN_RECALL, SIDE_RECALL = 5.0, 40.0
MORE_PEAK = 0.5


@dataclass
class Schedule:
    """Learning-rate factor by step; with a time budget, `total` is unknown until DECAY_FROM of it is gone.

    After `total` steps come further descents of `more` steps each, from MORE_PEAK linearly to zero.
    """

    total: int | None
    minutes: float
    more: tuple[int, ...] = ()

    def factor(self, step: int, elapsed: float) -> float:
        if self.total is None and elapsed >= DECAY_FROM * self.minutes * 60:
            self.total = round(step / DECAY_FROM)
        if self.total is None:
            return min(1.0, (step + 1) / WARM_UP)
        if step >= self.total:
            return self._further(step - self.total)
        warm = (step + 1) / min(WARM_UP, max(1, self.total // 10))
        return min(1.0, warm, (self.total - step) / (self.total * (1 - DECAY_FROM)))

    def _further(self, step: int) -> float:
        for steps in self.more:
            if step < steps:
                return MORE_PEAK * (steps - step) / steps
            step -= steps
        return 0.0

    def done(self, step: int) -> bool:
        return self.total is not None and step >= self.total + sum(self.more)


@dataclass(frozen=True)
class Recipe:
    """What a step sees: batch * context tokens; packed rows before `packed_steps`; recalled words weigh 1 + `recall`
    (times the learning-rate factor) from step `recall_from`; `noisy_share` of the rows are noisy from `noisy_from`.
    From `side_from` on, side characters, places and fruit weigh more than names (MAIN_RECALL, SIDE_RECALL)."""

    seed: int
    batch: int
    packed_steps: int
    recall: float
    recall_from: int
    noisy_from: int
    side_from: int
    noisy_share: float = 0.25

    def batches(self, stories: list[np.ndarray], context: int) -> Iterator[np.ndarray]:
        """Token ids (rows, tokens), step by step, without end."""
        yield from islice(batches(stories, self.seed, self.batch, context), self.packed_steps)
        rows = round(self.batch * context * len(stories) / sum(map(len, stories)))
        yield from single_batches(stories, self.seed, rows, context)

    def weights(self, batch: np.ndarray, cast: Cast, step: int, factor: float) -> np.ndarray:
        """Loss weight of each token of the batch, float32."""
        if step < self.recall_from:
            return np.ones(batch.shape, dtype=np.float32)
        if step < self.side_from:
            return 1 + np.float32(self.recall * factor) * recalled(batch, cast.first)
        main, side = recalled(batch, cast.main), recalled(batch, cast.side)
        return 1 + np.float32(factor) * (np.float32(MAIN_RECALL) * main + np.float32(SIDE_RECALL) * side)


class Feed:
    """The batches of a recipe and the loss weights of their tokens, step by step from `step` on."""

    def __init__(self, recipe: Recipe, stories: list[np.ndarray], tokenizer: Tokenizer, context: int, step: int):
        self.recipe = recipe
        self.batches = islice(recipe.batches(stories, context), step, None)
        self.cast = cast_tokens(tokenizer)
        self.pool = np.concatenate([story[1:-1] for story in stories[:2000]])

    def next(self, step: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
        """Ids and weights, both (rows, tokens)."""
        batch = next(self.batches)
        weights = self.recipe.weights(batch, self.cast, step, factor)
        if step >= self.recipe.noisy_from:
            batch = batch.copy()
            rng = np.random.default_rng((self.recipe.seed, step, 2))
            add_noise(batch, weights, round(self.recipe.noisy_share * len(batch)), rng, self.pool, len(self.cast.first))
        return batch, weights


class Trainer:
    """The model, its two optimisers and where the run stands."""

    def __init__(self, config: ModelConfig, muon_rate: float, adam_rate: float) -> None:
        self.model = StoryModel(config)
        named = dict(self.model.named_parameters())
        matrices = [w for name, w in named.items() if w.ndim == 2 and name != "token_embd.weight"]
        others = [w for name, w in named.items() if w.ndim != 2 or name == "token_embd.weight"]
        self.rates = (muon_rate, adam_rate)
        self.optimizers = (
            torch.optim.Muon(matrices, lr=muon_rate, momentum=0.95, weight_decay=0.05),
            torch.optim.AdamW(others, lr=adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
        )
        self.step = 0
        self.elapsed = 0.0

    def train_batch(self, batch: np.ndarray, weights: np.ndarray, factor: float) -> float:
        """One update on ids (rows, length + 1), tokens weighted by `weights` of the same shape; returns the plain mean
        loss in nats per token. EOS after EOS is padding and does not count."""
        ids = torch.from_numpy(batch.astype(np.int64))
        targets = ids[:, 1:].masked_fill((ids[:, 1:] == EOS_ID) & (ids[:, :-1] == EOS_ID), -100)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.model(ids[:, :-1])
        losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
        weight = torch.from_numpy(weights[:, 1:]).flatten() * (targets.flatten() >= 0)
        ((losses * weight).sum() / weight.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return (losses.sum() / (targets >= 0).sum()).item()

    def save(self, path: Path, schedule: Schedule) -> None:
        state = {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers]}
        torch.save({**state, "step": self.step, "elapsed": self.elapsed, "total": schedule.total}, path)

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.elapsed = state["step"], state["elapsed"]


@torch.no_grad()
def story_loss(model: StoryModel, stories: list[np.ndarray], words: int) -> tuple[float, float]:
    """Mean loss in nats per token and per word, each story alone from BOS to EOS, in float32."""
    total, tokens = 0.0, 0
    for story in stories:
        ids = torch.from_numpy(story[: model.config.context + 1].astype(np.int64))[None]
        total += F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
        tokens += ids.shape[1] - 1
    return total / tokens, total / words


def evaluate(model: StoryModel, tokenizer: Tokenizer, count: int) -> dict[str, float]:
    """Losses on unseen stories of the training templates ("fresh") and on the reserved templates ("held_out")."""
    result = {}
    for name, held_out in (("fresh", False), ("held_out", True)):
        texts = list(story_corpus.stories(count, FRESH_SEED, held_out))
        words = sum(len(text.split()) for text in texts)
        result[name], result[f"{name}_per_word"] = story_loss(model, encode_stories(tokenizer, texts), words)
    return result


@torch.no_grad()
def sample(model: StoryModel, tokenizer: Tokenizer, seed: int, temperature: float = 0.8) -> str:
    """A story from BOS alone, for the eye: temperature only, the prefix recomputed for every token."""
    generator = torch.Generator().manual_seed(seed)
    ids = [BOS_ID]
    while len(ids) < min(300, model.config.context) and (len(ids) == 1 or ids[-1] > 1):
        weights = torch.softmax(model(torch.tensor([ids]))[0, -1] / temperature, dim=-1)
        ids.append(int(torch.multinomial(weights, 1, generator=generator)))
    return tokenizer.decode(ids)


def report(trainer: Trainer, tokenizer: Tokenizer, count: int) -> None:
    """Prints losses and one sample."""
    losses = {name: round(value, 4) for name, value in evaluate(trainer.model, tokenizer, count).items()}
    click.echo(f"evaluation at step {trainer.step}: {losses}")
    click.echo(f"sample: {sample(trainer.model, tokenizer, trainer.step)}")


def round_to_f16(model: StoryModel) -> None:
    """Gives the matrices the values the F16 file will hold, so that reported losses are the file's."""
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.data = weight.data.half().float()


def train(
    trainer: Trainer,
    stories: list[np.ndarray],
    tokenizer: Tokenizer,
    schedule: Schedule,
    recipe: Recipe,
    checkpoint: Path | None,
) -> None:
    """Runs to the end of the schedule, with logs, evaluations and checkpoints by the clock."""
    feed = Feed(recipe, stories, tokenizer, trainer.model.config.context, trainer.step)
    start = time.monotonic() - trainer.elapsed
    saved = evaluated = trainer.elapsed
    while not schedule.done(trainer.step):
        factor = schedule.factor(trainer.step, trainer.elapsed)
        loss = trainer.train_batch(*feed.next(trainer.step, factor), factor)
        trainer.elapsed = time.monotonic() - start
        if trainer.step % 25 == 0:
            click.echo(f"step {trainer.step}/{schedule.total} {trainer.elapsed:.0f} s loss {loss:.4f} lr x{factor:.3f}")
        if checkpoint and trainer.elapsed - saved > 150:
            trainer.save(checkpoint, schedule)
            saved = trainer.elapsed
        if trainer.elapsed - evaluated > 600:
            report(trainer, tokenizer, 50)
            evaluated = trainer.elapsed


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "wgpu_infer" / "data" / "stories.gguf")
@click.option("--minutes", default=65.0, help="Time budget; decides the number of steps unless --steps is given.")
@click.option("--steps", type=int, default=None, help="Exact number of steps (repeats a run).")
@click.option("--more", type=int, multiple=True, help="Steps of a further, lower descent of the learning rate.")
@click.option("--stories", "count", default=50_000, help="Training stories to generate.")
@click.option("--batch", default=12, help="Rows of `context` tokens a step.")
@click.option("--packed-steps", default=734, help="Steps on packed rows of `context` tokens; then single stories.")
@click.option("--recall", default=15.0, help="Extra loss weight of names and things named before.")
@click.option("--recall-from", default=989, help="Step from which --recall counts.")
@click.option("--noisy-from", default=2213, help="Step from which a quarter of the rows are noisy (story_noise.py).")
@click.option("--side-from", default=3113, help="Step from which recalled side characters weigh more than names.")
@click.option("--seed", default=1)
@click.option("--muon-rate", default=0.02)
@click.option("--adam-rate", default=0.004)
@click.option("--vocab", default=2048)
@click.option("--layers", default=4)
@click.option("--context", default=512)
@click.option("--eval-stories", default=500)
@click.option("--checkpoint", type=click.Path(path_type=Path), default=None, help="File for the state, every 150 s.")
@click.option("--resume", is_flag=True, help="Go on from --checkpoint.")
def main(
    out: Path, minutes: float, steps: int | None, more: tuple[int, ...], count: int, muon_rate: float, adam_rate: float,
    vocab: int, layers: int, context: int, eval_stories: int, checkpoint: Path | None, resume: bool, **recipe: Any,
) -> None:  # fmt: skip
    """Generate the corpus, train the model, report its losses, write the GGUF."""
    torch.set_num_threads(1)
    torch.manual_seed(recipe["seed"])
    texts = list(story_corpus.stories(count))
    tokenizer = train_tokenizer(texts[:20_000], vocab)
    encoded = encode_stories(tokenizer, texts)
    words, tokens = sum(len(text.split()) for text in texts), sum(map(len, encoded))
    click.echo(f"{count} stories, {words} words, {tokens} tokens")
    config = ModelConfig(vocab=tokenizer.get_vocab_size(), layers=layers, context=context)
    trainer = Trainer(config, muon_rate, adam_rate)
    schedule = Schedule(steps, minutes, more)
    if resume and checkpoint:
        state = torch.load(checkpoint, weights_only=True)
        trainer.restore(state)
        schedule.total = steps or state["total"]
    click.echo(f"{sum(w.numel() for w in trainer.model.parameters())} parameters, {asdict(config)}")
    train(
        trainer,
        encoded,
        tokenizer,
        schedule,
        Recipe(**recipe),
        checkpoint,
    )
    if checkpoint:
        trainer.save(checkpoint, schedule)
    round_to_f16(trainer.model)
    report(trainer, tokenizer, eval_stories)
    size = write_gguf(out, trainer.model, tokenizer, f"Short stories; {trainer.step} steps, seed {recipe['seed']}")
    click.echo(f"wrote {out} ({size} bytes) after {trainer.step} steps in {trainer.elapsed / 60:.1f} minutes")


if __name__ == "__main__":
    main()
