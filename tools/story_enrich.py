"""Rewrites training frames so that fixed wording varies: synonyms, speech tags, and leading adverbials.

Each rule is (pattern, replacement) on the template text; the replacement is template language again. They multiply the
ways a frame can be said, which keeps 12-word windows from repeating, and leave who does what untouched.
"""

from __future__ import annotations

import re
from functools import cache

from story_words import listed

SPEAKER = r"\{(?:H|F|E|he|fhe|ehe)\}"

RULES = [
    (r"\bvery\b", "[very|so|really|quite|truly]"),
    (r"\bat last\b", "[at last|in the end|finally|after a long time|at long last]"),
    (r"^then\b", "[then|next|soon|after that|a moment later|just then]"),
    (r"\bso hard that\b", "so [hard|heavily|long] that"),
    (r"\bbegan again\b", "[began again|started again|started over|tried once more|did it all again]"),
    (r"\btried again\b", "[tried again|began again|started over|made a new plan|did it once more]"),
    (r"\bhelp you\b", "[help you|lend you a hand|come with you|do that with you]"),
    (r"\bthought about\b(?! it)", "[thought about|thought of|remembered|could not forget]"),
    (r"\blooked at\b", "[looked at|gazed at|stared at|turned to]"),
    (r"\bI am sorry\b", "I am [|so |very |truly |really ]sorry"),
    (r"\bhugged\b", "[hugged|held|squeezed|cuddled]"),
    (r"\blaughed\b", "[laughed|giggled|chuckled]"),
    (r"\bcame with\b", "[came with|brought|came carrying|arrived with]"),
    (r"\bcame by with\b", "[came by with|came past with|stopped by with]"),
    (r"\bcame to see\b", "[came to see|came to look at|gathered to see|hurried to see]"),
    (r"\bstuck\b", "[stuck|caught|trapped]"),
    (r"(?<!close )\btogether\b(?!,)", "[together|side by side|as a team|hand in hand]"),
    (r"\bsat down\b", "[sat down|knelt down|lay down|bent down]"),
    (r"\bput on\b", "[put on|pulled on|wore]"),
    (r"\bwanted to\b", "[wanted to|wished to|hoped to|longed to|planned to]"),
    (r"\bto say thank you\b", "[to say thank you|as a thank you|as a present|to thank {him}|as a gift]"),
    (r"\bfor (<number>) days\b", r"for \1 [|long |whole |<wadj> ][days|mornings|evenings|nights]"),
    (r"\b(<number>) (hours|days) later\b", r"\1 [|long |whole |<wadj> ]\2 later"),
    (r"\bafter (<number>) days\b", r"after \1 [|long |busy |<wadj> ][days|mornings|weeks]"),
    (r"\ball <daypart>\b", "[all <daypart>|until [dark|dinner|evening|noon]|for <number> hours]"),
    (r"\bbroke in\b", "[broke in|broke into|cracked into|split into|fell into]"),
    (r"\bthe way was long\b", "the way was [long|hard|steep|rough] [and dusty|and winding|but <nice>|and <cool>]"),
    (
        r"\bit was hard work\b",
        "it was [hard|slow|heavy|tiring|dull] work[| for a {size} {kind}| in the <wadj> weather]",
    ),
    (r"\bto pass the time\b", "[to pass the time|while they waited|to feel better|until it stopped|to keep warm]"),
    (r"\bit had been a long day\b", "it had been a [long|big|busy|full|strange|great] [day|<weekday>|<daypart>]"),
    (r"\bthe true winner\b", "the [true|real|best] [winner|one|hero|friend]"),
    (r"\bgave it water\b", "[gave it water|watered it|brought it water]"),
    (r"\bwas bad\b", "[was bad|went wrong|was no good|ended in the mud|was a mess]"),
    (r"\bwere worse\b", "were [worse|no better|even worse|just as bad]"),
    (r"\bclose your eyes\b", "[close|shut] your [eyes|<colour> eyes|eyes and count to <number>]"),
    (r"\bnone of them knew\b", "[none of them|nobody|not one of them] [knew|could say|had seen it]"),
    (r"\bwhen it got dark\b", "[when it got dark|after sunset|that night|at <number> o'clock]"),
    (rf"\bsaid ({SPEAKER})(?=[.,])", r"<said> \1[|| <manner>| with <smile>| <near_said>]"),
    (rf"\b(asked|cried|shouted) ({SPEAKER})(?=[.,])", r"\1 \2[|| <manner>| with <smile>| <near_said>]"),
    (rf"({SPEAKER}) said(?=[.,])", r"\1 <said>[|| <manner>| with <smile>| <near_said>]"),
    (r"\bsaid the \{an\}(?=[.,])", "<said> the {an}[|| <manner>| with <smile>| <near_said>]"),
    (rf"\b(said) ({SPEAKER}|the \{{an\}}) (<softly>)", r"<said> \2 [<manner>|<softly>|with <smile>|<near_said>]"),
    (r"\bsaid ((?:\{H\}|\{F\}|\{E\}|the \{an\}) with)", r"<said> \1"),
]

LISTS = {
    "said": listed("said whispered replied answered called"),
    "near_said": ["from <near> the <spot>", "<near> the <age> <spot>", "in the <skyadj> light", "under the <tree>"],
    "lead": [
        "as the <bird>s <sang>, ", "while a <colour> <bug> [flew|danced|hurried] by, ", "under the <skyadj> sky, ",
        "in the <skyadj> light of the <daypart>, ", "<near> the <age> <spot>, ", "with a <happy> [heart|face|song], ",
        "[soon|before long|by and by|after a while|a little later|not long after|in a moment|after that], ",
        "with <number> <bird>s [looking on|overhead|singing along], ", "[past|beyond|not far from] the <nat>, ",
        "in the <cool> air, ", "with [muddy|warm|cold|dusty] <part2>, ",
    ],
}  # fmt: skip

SUBJECT = re.compile(r"^(?=(?:\{he\}|\{H\}|\{E\}|\{F\}|they|the \{an\}|everyone) )")


@cache
def enrich(frame: str, lead: bool = True) -> str:
    """The frame with varied wording, and (with `lead`) sometimes an adverbial before its subject."""
    for pattern, replacement in RULES:
        frame = re.sub(pattern, replacement, frame)
    return SUBJECT.sub("[|||<lead>|<lead>]", frame) if lead else frame
