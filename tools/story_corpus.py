"""Generates the default model's training and held-out stories from templates; the same seed gives the same story.

A template is text in which `[a|b]` chooses one part uniformly (parts nest and may be empty), `<name>` draws from the
word list of that name, and `{name}` is a value of the story's cast, fixed for the whole story, so that characters keep
their name, kind and pronouns. Articles and capitals are put right afterwards. Held-out stories come from outlines and
frames of their own (story_heldout.py); only the words are shared. Leaves out: any text not made here.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import story_enrich
import story_frames
import story_heldout
import story_plots2
import story_words as words

Cast = dict[str, str]
Node = Callable[[random.Random, Cast, dict[str, Sequence[str]]], str]

LISTS: dict[str, Sequence[str]] = {
    **words.LISTS,
    **story_frames.LISTS,
    **story_enrich.LISTS,
    **story_plots2.LISTS,
    **story_heldout.LISTS,
}
TOKEN = re.compile(r"[\[\]|]|<\w+>|\{\w+\}|[^\[\]|<{]+")
PRONOUNS = {"f": ("she", "her", "her", "herself"), "m": ("he", "him", "his", "himself")}


def _word(name: str) -> Node:
    def draw(rng: random.Random, cast: Cast, lists: dict[str, Sequence[str]]) -> str:
        options = lists[name]
        return compile_template(options[int(rng.random() * len(options))])(rng, cast, lists)

    return draw


def _choice(options: list[Node]) -> Node:
    return lambda rng, cast, lists: options[int(rng.random() * len(options))](rng, cast, lists)


def _sequence(parts: list[Node]) -> Node:
    if len(parts) == 1:
        return parts[0]
    return lambda rng, cast, lists: "".join([part(rng, cast, lists) for part in parts])


def _leaf(token: str) -> Node:
    if token[0] == "<":
        return _word(token[1:-1])
    if token[0] == "{":
        key = token[1:-1]
        return lambda rng, cast, lists: cast[key]
    return lambda rng, cast, lists: token


def _empty(rng: random.Random, cast: Cast, lists: dict[str, Sequence[str]]) -> str:
    return ""


def _parse(tokens: Iterator[str], inside: bool) -> Node:
    options: list[list[Node]] = [[]]
    for token in tokens:
        if token == "[":
            options[-1].append(_parse(tokens, True))
        elif token == "|" and inside:
            options.append([])
        elif token == "]" and inside:
            break
        else:
            options[-1].append(_leaf(token))
    nodes = [_sequence(parts or [_empty]) for parts in options] if inside else [_sequence(options[0])]
    return _choice(nodes) if len(nodes) > 1 else nodes[0]


@cache
def compile_template(text: str) -> Node:
    """The function that expands this template with a random generator, a cast and the word lists."""
    return _parse(iter(TOKEN.findall(text)), False)


def _names(rng: random.Random, taken: set[str], pool: Sequence[str]) -> str:
    while (name := rng.choice(pool)) in taken:
        pass
    taken.add(name)
    return name


def _character(rng: random.Random, taken: set[str], child: bool) -> tuple[str, str, str]:
    """(name, kind, "f" or "m") of somebody new: a girl or boy, or an animal or toy."""
    sex = rng.choice("fm")
    if not child:
        return _names(rng, taken, words.CRITTERS), rng.choice(words.ANIMALS), sex
    pool, kind = (words.GIRLS, "girl") if sex == "f" else (words.BOYS, "boy")
    return _names(rng, taken, pool), kind, sex


def _elder(rng: random.Random) -> tuple[str, str]:
    if rng.random() < 0.5:
        return rng.choice(("Grandma ", "Aunt ")) + rng.choice(words.ELDER_WOMEN), "f"
    return rng.choice(("Grandpa ", "Uncle ")) + rng.choice(words.ELDER_MEN), "m"


def make_cast(rng: random.Random) -> Cast:
    """Everything that stays the same through one story: {H} hero, {F} friend, {E} elder, {O} thing, places."""
    taken: set[str] = set()
    child = rng.random() < 0.5
    hero, kind, hero_sex = _character(rng, taken, child)
    friend, friend_kind, friend_sex = _character(rng, taken, child == (rng.random() < 0.7))
    elder, elder_sex = _elder(rng)
    colour, thing = rng.choice(words.COLOURS), rng.choice(words.OBJECTS)
    place, preposition = rng.choice(words.PLACES)
    full_place = rng.choice((place, f"{rng.choice(words.PLACE_ADJECTIVES)} {place}"))
    cast = {
        "H": hero, "kind": kind, "size": rng.choice(words.LISTS["size"]), "trait": rng.choice(words.LISTS["trait"]),
        "F": friend, "fkind": friend_kind, "ftrait": rng.choice(words.LISTS["trait"]), "E": elder,
        "o": thing, "c": colour, "O": f"{colour} {thing}", "pl": place, "inp": f"{preposition} the {full_place}",
        "top": f"to the {full_place}", "home": rng.choice(words.LISTS["home"]), "fd": rng.choice(words.LISTS["fruit"]),
        "an": rng.choice([a for a in words.LISTS["animal"] if a not in (kind, friend_kind)]),
        "cr": rng.choice(words.LISTS["craft"]), "sk": rng.choice(words.LISTS["skill"]),
        "bigplace": rng.choice(story_plots2.BIG_PLACES),
    }  # fmt: skip
    for prefix, sex in (("", hero_sex), ("f", friend_sex), ("e", elder_sex)):
        for role, pronoun in zip(("he", "him", "his", "himself"), PRONOUNS[sex], strict=True):
            cast[prefix + role] = pronoun
    return cast


def _weather(rng: random.Random, snow: bool = True) -> dict[str, Sequence[str]]:
    """The word lists with the mornings and the sky of one kind of weather."""
    mornings, sky = words.WEATHERS[rng.choice([kind for kind in sorted(words.WEATHERS) if snow or kind != "snowy"])]
    return {**LISTS, "wadj": mornings, "sky": sky}


def plan_training(rng: random.Random) -> tuple[list[str], bool]:
    """The templates of one training story, in order, and whether it may snow in it."""
    count = len(story_plots2.FRIEND_OUTLINES)
    index = rng.randrange(count + len(story_plots2.SOLO_OUTLINES))
    with_friend = index < count
    outline = (story_plots2.FRIEND_OUTLINES + story_plots2.SOLO_OUTLINES)[index]
    plan = [story_enrich.enrich(rng.choice(story_frames.OPENINGS), lead=False)]
    if with_friend:
        plan.append(story_enrich.enrich(rng.choice(story_frames.FRIENDS), lead=False))
    body = [story_enrich.enrich(rng.choice(beat)) for beat in outline]
    for texture in rng.sample(story_frames.TEXTURES, rng.randint(0, 2)):
        body.insert(rng.randrange(len(body)), texture)
    closings = story_frames.FRIEND_CLOSINGS if with_friend and rng.random() < 0.7 else story_frames.CLOSINGS
    if outline in story_plots2.NIGHT_OUTLINES:
        closings = story_frames.NIGHT_CLOSINGS
    return plan + body + [
        story_enrich.enrich(rng.choice(closings), lead=False)
    ], outline not in story_plots2.NO_SNOW_OUTLINES


def plan_held_out(rng: random.Random) -> tuple[list[str], bool]:
    """The templates of one held-out story (none is ever a training template), and whether it may snow in it."""
    body = [rng.choice(beat) for beat in rng.choice(story_heldout.OUTLINES)]
    body.insert(rng.randrange(1, len(body)), rng.choice(story_heldout.TEXTURES))
    return [rng.choice(story_heldout.OPENINGS), *body, rng.choice(story_heldout.CLOSINGS)], True


def tidy(text: str) -> str:
    """Capital letters at sentence starts and "an" before a vowel."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    text = re.sub(r"\b(" + "|".join(words.PLURALS) + r")\b", lambda m: words.PLURALS[m[1]], text)
    return re.sub(r'(^"?|[.!?] "?|\." )([a-z])', lambda m: m[1] + m[2].upper(), text)


def make_story(seed: int, held_out: bool = False) -> str:
    """One story of about 80 to 200 words, as one line of text."""
    rng = random.Random(f"{'held-out' if held_out else 'training'} {seed}")
    cast = make_cast(rng)
    plan, snow = plan_held_out(rng) if held_out else plan_training(rng)
    lists = _weather(rng, snow)
    return " ".join(tidy(compile_template(frame)(rng, cast, lists)) for frame in plan)


def stories(count: int, first_seed: int = 0, held_out: bool = False) -> Iterator[str]:
    """`count` stories of consecutive seeds."""
    return (make_story(first_seed + i, held_out) for i in range(count))
