"""Word lists of the story generator, shared by training and held-out stories (only templates are reserved).

An entry may itself use the template language of story_corpus.py: `[a|b]` chooses, `<list>` draws from a list here,
`{x}` is filled from the story's cast. Lists are meant to be drawn uniformly and seldom exceed 40 entries, so that
top-k sampling can reach all of them.
"""

from __future__ import annotations


def listed(text: str, separator: str | None = None) -> list[str]:
    """The entries of a list written as text, between spaces or between separators; line breaks do not count."""
    return [" ".join(entry.split()) for entry in text.split(separator)]


GIRLS = listed("""Lily Anna Mia Rosa Emma Nora Ella Ruby Clara Ivy Molly Sara Lucy Tess Zoe Maya Nina Amy Daisy
    Hazel Jane Kate Leah Alice Sophie Julia Greta Ada Freya Holly Lena Vera Tara Mina Elsa Dora""")
BOYS = listed("""Tom Ben Sam Max Leo Jack Finn Tim Noah Owen Luke Adam Eli Hugo Oscar Theo Jake Dan Peter Paul
    Henry Otto Felix Ravi Omar Kai Ned Joe Alex Simon Carl Toby Nico Ian Seth Milo""")
CRITTERS = listed("""Pip Coco Bramble Pepper Biscuit Clover Fern Nutmeg Poppy Rusty Dusty Sunny Waffles Pickle
    Button Cricket Maple Mossy Tuffy Bobo Lulu Kiki Momo Nibbles Patch Scout Ziggy Muffin Olive Peanut Tulip
    Willow Zuzu Bingo Dot Ginger""")
ANIMALS = [*listed("""rabbit fox bear mouse squirrel hedgehog otter badger frog duck kitten puppy lamb pony goat
    pig turtle owl robin beaver mole raccoon penguin elephant monkey donkey goose hen panda tiger"""),
    "teddy bear", "rag doll", "toy robot"]  # fmt: skip
ELDER_WOMEN = listed("Pearl Flora Edith Martha Betty Opal Agnes Mabel Winnie Dolly Iris Stella")
ELDER_MEN = listed("Gus Bert Walter Frank Albert Harold Stan Morris Ernest Hank Victor Ralph")

OBJECTS = [*listed("""kite ball drum whistle scarf hat lantern basket bell book spoon cup button feather marble
    shell key mirror flute paintbrush blanket balloon umbrella bucket map pencil puppet crown ribbon coin mitten
    necklace box teapot clock boot pillow flag"""), "toy boat", "toy train"]  # fmt: skip
COLOURS = listed("""red blue green yellow purple orange pink white silver golden brown striped spotted grey black
shiny""")

# (place, preposition): all of them outdoors, so that any weather and any hiding spot fits.
PLACES = [
    ("forest", "in"), ("meadow", "in"), ("garden", "in"), ("park", "in"), ("orchard", "in"), ("valley", "in"),
    ("village", "in"), ("market", "at"), ("beach", "on"), ("hill", "on"), ("farm", "on"), ("island", "on"),
    ("river", "by"), ("lake", "by"), ("pond", "by"), ("stream", "by"), ("sea", "by"), ("windmill", "near"),
    ("castle", "near"), ("mill", "near"), ("bridge", "near"), ("harbor", "at"), ("playground", "on"), ("field", "in"),
    ("woods", "in"), ("waterfall", "by"), ("mountain", "on"), ("school", "near"), ("lighthouse", "near"),
    ("barn", "by"),
]  # fmt: skip
PLACE_ADJECTIVES = listed("""quiet old green sunny little wide busy pretty peaceful big windy secret faraway
    lovely grassy misty""")

# Weather of a story: what its mornings are called, and what the sky does.
WEATHERS = {
    "sunny": (
        listed("sunny bright warm golden clear hot"),
        ["the sun <shone> on the <nat>", "<warm> sunlight danced over the <nat>", "there was not one cloud [above|over]"
         " the <nat>", "the [sky|air] was <warm> and <skyblue>"],
    ),
    "windy": (
        listed("windy breezy blustery fresh wild gusty"),
        ["the wind <blew> [over|through|around|across] the <nat>", "a <cool> breeze <blew> past the <nat>",
         "the clouds raced over the <nat>", "<manycol> leaves [spun|whirled|flew|danced] around the <nat>"],
    ),
    "cloudy": (
        listed("cloudy grey misty foggy cool dull"),
        ["<soft> mist [hung|floated|drifted|lay] over the <nat>", "<fat> clouds [hung|floated|drifted] above the <nat>",
         "the sky was <dull> and <dull>", "a <cool> fog [hid|covered|wrapped] the <nat>"],
    ),
    "snowy": (
        listed("snowy frosty icy cold chilly white"),
        ["<soft> snow [covered|hid|lay on|fell on] the <nat>", "<fat> snowflakes [fell|danced|floated|drifted] over the"
         " <nat>", "the <nat> were <dull> with frost", "ice [sparkled|glittered|shone] on the <nat>"],
    ),
}  # fmt: skip

LISTS = {
    "size": listed("little small young tiny"),
    "trait": listed("""brave curious kind clever shy cheerful gentle funny careful lively friendly patient
        playful polite silly quiet bold merry thoughtful sleepy stubborn helpful dreamy hungry"""),
    "happy": listed("""happy glad proud cheerful delighted pleased joyful thankful excited merry content thrilled"""),
    "sad": listed("""sad upset unhappy gloomy worried lonely disappointed miserable sorry tearful heartbroken
        troubled"""),
    "scared": listed("scared afraid nervous frightened worried uneasy fearful anxious"),
    "tired": listed("tired sleepy weary hungry cold thirsty"),
    "nice": listed("""lovely pretty beautiful wonderful splendid charming perfect special fine handsome fancy
        bright neat marvelous"""),
    "size_thing": listed("little big small tiny large huge long giant"),
    "age": listed("old new worn ancient dusty muddy forgotten crooked mossy big small tall low lonely"),
    "gladly": listed("happily cheerfully merrily gladly proudly eagerly bravely calmly quietly"),
    "softly": listed("""softly quietly gently slowly carefully calmly kindly shyly patiently warmly sweetly
        sleepily"""),
    "quickly": listed("""quickly eagerly happily bravely proudly gladly merrily cheerfully loudly boldly
        excitedly"""),
    "manner": ["<softly>", "<quickly>"],
    "warm": listed("warm golden bright soft cozy yellow gentle lazy"),
    "cool": listed("cool cold chilly fresh strong gentle sharp playful"),
    "soft": listed("soft thick thin pale white quiet deep cold"),
    "fat": listed("fat heavy fluffy big dark slow puffy round"),
    "dull": listed("grey white pale silver still silent dim dark"),
    "skyblue": listed("blue still sweet bright fresh calm clear mild"),
    "manycol": listed("red yellow orange brown golden dry crisp bright"),
    "shone": listed("shone|sparkled|glowed|beamed|smiled|shimmered", "|"),
    "blew": listed("blew|whistled|rushed|hummed|danced|swept|howled|sang", "|"),
    "colour": COLOURS,
    "animal": ANIMALS[:30],
    "bird": listed("robin sparrow crow duck goose owl swan wren dove seagull parrot blackbird magpie pigeon"),
    "bug": listed("butterfly ladybug bee snail beetle cricket caterpillar dragonfly spider ant firefly moth"),
    "tree": listed("""oak|apple tree|pear tree|willow|pine|maple|birch|cherry tree|elm|plum tree|chestnut|fir|
        fig tree|walnut tree|palm|poplar""", "|"),
    "nat": listed("""rooftops|treetops|wet stones|flowers|hills|rose bushes|garden walls|fields|chimneys|gates|
        fences|haystacks|bridges|pebbles|hedges|apple trees|ferns|steps|reeds|gardens|
        mossy rocks|vines|meadows""", "|"),
    "spot": listed("""tree|bush|log|rock|wall|gate|bench|hedge|fence|barrel|cart|stump|ladder|boat|wagon|
        haystack|statue|shed|fountain|flowerpot|woodpile|signpost|wheelbarrow""", "|"),
    "near": [*listed("under behind beside near"), "next to", "in front of", "close to"],
    "weekpart": listed("morning afternoon evening"),
    "weary": listed("tired sore cold weak heavy stiff"),
    "mild": listed("warm soft gentle long mild bright"),
    "daypart": listed("morning afternoon evening day"),
    "weekday": listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "season": listed("spring summer autumn winter"),
    "tasty": listed("warm sweet fresh sticky tasty crunchy soft spicy creamy tiny"),
    "food": listed("""cookies pancakes muffins dumplings buns waffles biscuits rolls cupcakes tarts pies
        pretzels crackers sandwiches cakes"""),
    "fruit": listed("""berries plums apples cherries carrots pears nuts grapes peaches beans tomatoes lemons
        figs peas melons pumpkins"""),
    "ripe": listed("ripe sweet fresh juicy red plump tasty yellow"),
    "meal": ["<tasty> <food>", "<ripe> <fruit>"],
    "baking": ["[a plate|a bowl|a basket|a bag|a tray|a pile] of <tasty> <food>", "some <tasty> <food>"],
    "treat": ["[a plate|a bowl|a basket|a bag|a tray|a pile] of <meal>", "some <meal>"],
    "drink": listed("tea|milk|cocoa|apple juice|soup|lemonade|honey tea|warm milk|berry juice|hot broth", "|"),
    "garment": listed("coat scarf hat sweater apron jacket cap shirt vest cape belt robe shawl hood"),
    "part": listed("head hands knees shoulders face back feet nose"),
    "flower": listed("daisies tulips roses violets poppies sunflowers lilies buttercups bluebells pansies"),
    "craft": listed("birdhouse|treehouse|raft|go-cart|swing|bridge|cabin|fort|boat|tower|wagon|bench", "|"),
    "material": listed("""planks sticks stones ropes boxes branches nails pebbles logs blankets barrels bricks boards
        buckets"""),
    "skill": listed("""swim|whistle|dance|juggle|skate|paint|knit|sing|climb|fish|row a boat|play the flute|jump rope|
        ride a bicycle|tie a knot|play chess|bake bread|read""", "|"),
    "hobby": [
        "chasing <colour> butterflies", "collecting <size_thing> stones", "singing to the <bird>s",
        "painting <colour> <flower>", "climbing the <nice> <tree>", "watching the <colour> clouds",
        "counting the stars", "jumping over puddles", "reading stories about <animal>s", "picking <flower>",
        "building towers of <material>", "baking <tasty> <food>", "playing hide and seek", "feeding the <bird>s",
        "drawing <animal>s and <bird>s", "telling jokes", "dancing in the rain", "rolling down the hill",
        "making hats out of leaves", "looking for <colour> shells", "humming <happy> songs", "flying <colour> kites",
        "digging in the mud", "asking questions", "playing the <colour> drum", "tasting <tasty> <food>",
        "following <bug> trails", "racing with the <animal>s", "sailing boats on the pond", "making <nice> things",
    ],
    "home": listed("house|cottage|cabin|home|farmhouse|tent|hut", "|"),
    "said_to": listed("said told"),
    "smile": listed("""a <smiling> smile|a <happy> laugh|a <smiling> voice|a <smiling> grin|a <smiling> wave|
        a <happy> heart|a <smiling> nod|a <smiling> hug|a wink|a <happy> face""", "|"),
    "smiling": listed("warm shy big bright kind happy soft quick small quiet"),
    "walked": listed("""walked ran hurried skipped wandered marched hopped strolled tiptoed raced trotted dashed"""),
    "looked": listed("looked peeked searched checked hunted peered"),
    "found": listed("found spotted discovered noticed saw"),
    "wow": ["Oh my", "Wow", "Goodness", "Look", "Hooray", "My, my", "Hello there", "Wonderful"],
    "ohno": ["Oh no", "Oh dear", "Oh my", "Goodness me", "Dear me", "Please help", "This is bad"],
    "scene": [
        "while the <bird>s <sang>", "while a <colour> <bug> [flew|hurried|danced] by", "under the <skyadj> sky",
        "beyond the <nat>", "along the <size_thing> path", "as the <daypart> went by", "near the <nat>",
        "over the <age> <spot>", "in the <skyadj> [light|air] of the <daypart>", "past the <tree> and the <nat>",
    ],
    "homely": listed("little big small tiny large cozy neat warm tidy"),
    "worn": listed("old worn dusty muddy torn wet faded ragged forgotten patched"),
    "precious": listed("precious special beautiful wonderful lovely splendid amazing delightful"),
    "number": listed("two three four five six seven eight nine ten"),
    "sound": listed("rustle|squeak|thump|whisper|knock|splash|bump|hoot|scratch|crash|jingle|tap|growl|hum", "|"),
    "while": [
        "while the <bird>s <sang>", "while a <colour> <bug> [flew|crawled|danced] by", "under the <skyadj> sky",
        "past the <age> <spot>", "along the <size_thing> path", "with <smile>", "in {his} <colour> <garment>",
        "as the <daypart> went by", "near the <nat>", "without a word",
    ],
    "sang": listed("sang chirped whistled called chattered hummed played watched rested"),
    "skyadj": listed("blue grey pink wide open quiet golden purple bright pale"),
}  # fmt: skip

# What "<animal>s" and the like would spell wrongly.
PLURALS = {
    "foxs": "foxes", "mouses": "mice", "gooses": "geese", "ponys": "ponies", "puppys": "puppies",
    "butterflys": "butterflies", "dragonflys": "dragonflies", "fireflys": "fireflies", "scarfs": "scarves",
}  # fmt: skip
