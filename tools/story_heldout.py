"""Templates and outlines reserved for held-out stories: nothing here is ever drawn for training.

They use the same cast and word lists as the training templates, so a held-out loss measures new sentences and new
plots, not new words.
"""

from __future__ import annotations

OPENINGS = [
    "there once lived, {inp}, somebody very {trait}: a {size} {kind} named {H}.",
    "have you heard about {H}? {he} was a {kind} who could never stop <hobby>.",
    "the {trait} {kind} in the <colour> {home} was called {H}, and <hobby> was all {he} wanted.",
    "it was <season>, and <sky>. {H}, a {size} {kind}, sat <near> the <spot> with {his} <colour> <garment> on.",
    "of all the children and <animal>s {inp}, {H} the {kind} was the most {trait}.",
]

TEXTURES = [
    "a <trait> <bird> flew by and dropped a <colour> leaf on the <garment> of {H}.",
    "because <sky>, everything <near> the <tree> looked a little <dull>.",
    "the <flower> nodded in the <daypart> air, and <number> <bug>s went to and fro.",
    "{H} took a bite of something <tasty> and thought of {E}.",
]

MAP = (
    [
        "in the pocket of a <worn> <garment>, {H} came upon a map. a <colour> cross was drawn <near> a <tree>.",
        "when {E} opened a <size_thing> box, out fell a map with <number> <colour> lines.",
    ],
    [
        '"treasure!" whispered {H} to {F} the {fkind}, and both of them put on {c} caps.',
        "{F} the {fkind} wanted to come too, so {H} cut the <food> in half and packed it for two.",
    ],
    [
        "the map led them over <nat>, along a <age> wall, and down to a <size_thing> gate where a <animal> slept.",
        "they counted <number> steps from the <spot> and <number> more from the <tree>, just as the map said.",
    ],
    [
        "they dug until their <part2> were black with earth, and {F} began to think it was all a joke.",
        "nothing was there but <material>. {H} turned the map around: they had held it upside down!",
    ],
    [
        "then the spade hit wood. inside the chest lay a {O} and a letter: share me with a friend.",
        "deep in the earth was a {O}, as <nice> as on the day that somebody had buried it.",
    ],
)

SICK = (
    [
        "{F} the {fkind} had a cold and had to stay in bed with a <colour> <garment> around {fhis} neck.",
        "the doctor had told {F}, a {ftrait} {fkind}, to rest for <number> days. how dull that was!",
    ],
    [
        "{H} wondered what would cheer up somebody with a sore [nose|head|back|knee|throat|foot] and no "
        "appetite for <meal>.",
        "through the window {H} could see how <sad> {F} looked, so {he} went to get {his} {O}.",
    ],
    [
        "{he} put on a puppet show in front of the window, with a <animal> made of <material>.",
        "{he} read aloud from a book about a <trait> <animal> until {his} voice was as weak as that of {F}.",
    ],
    [
        "{F} laughed so much that the <bird>s on the roof laughed with {fhim}.",
        "for the first time since <weekday>, {F} sat up and asked for a bit of <drink>.",
    ],
    [
        "by <weekday> the cold was gone, but {H} now had to sneeze. it was the turn of {F} to bring the {O}.",
        '"laughing is better than any medicine," {E} told them both.',
    ],
)

BOTTLE = (
    [
        "a bottle was rolling about <near> the <spot>, and in it was a letter that smelled of <food>.",
        "the water had brought a <colour> bottle. {H} pulled out the cork and shook out a letter.",
    ],
    [
        "it said: I live alone with <number> <animal>s, and nobody writes to me. my name is {F}.",
        "somebody named {F} had written it, in <colour> ink, and wanted to know who was reading.",
    ],
    [
        "{H} wrote back about <hobby>, about {E}, and about the <flower> {inp}.",
        "it took {him} the whole <daypart> to answer, for {he} had so much to tell of <hobby>.",
    ],
    [
        "<season> came and went, and each <weekday> {H} looked for a bottle, but there was none.",
        "{he} threw the bottle back as far as {he} could, past <nat> and <bird>s, and began to wait.",
    ],
    [
        'one day a boat landed, and out stepped a {fkind} with a {O}. "I am {F}," {fhe} said.',
        "the answer came with a parcel: a {O}, and a picture of {F}, the {fkind}, waving.",
    ],
)

HAT = (
    [
        "the {c} hat of {E} was blown off {ehis} head, and away it sailed over the <nat>.",
        "the wind is a thief: it took the {c} hat of {E} and hung it on the very top of a <tree>.",
    ],
    [
        "{H} ran after it as fast as {his} legs would go, with {F} the {fkind} close behind.",
        '"I will bring it back!" {H} promised, though {he} had no idea how.',
    ],
    [
        "each time a hand came near, the hat jumped up again, as if it were playing with the <bird>s.",
        "a <animal> tried to blow it down, a <animal> tried to shake the branch, and both gave up.",
    ],
    [
        'so {H} stood perfectly still and said, "dear wind, we have <meal> for you, if you let go."',
        "{F} had the idea at last: they flew a kite up to it and caught it by the ribbon.",
    ],
    [
        "down it came, right onto the <spot>, with a family of <bug>s living in it.",
        "the hat had a hole now, so {E} planted <flower> in it and put it <near> the door.",
    ],
)

OUTLINES = (MAP, SICK, BOTTLE, HAT)

CLOSINGS = [
    "nobody {inp} ever forgot that <weekday>, {H} least of all.",
    "if you pass a <colour> {home} some <daypart>, listen: that is {H}, still telling the tale over <drink>.",
    "and with that, {H} yawned, ate the last of the <food>, and closed {his} eyes.",
    "such a <season> it was, full of <flower> and <happy> faces.",
]

LISTS: dict[str, list[str]] = {}
