"""The second half of the training outlines (see story_plots.py for the language), and the tables that list them all."""

from __future__ import annotations

from story_plots import BUILD, JOURNEY, LOST, NURSE, QUARREL, RESCUE, STORM, SURPRISE, WANT
from story_words import listed

FEAR = (
    [
        "one dark night, {H} heard a <sound> <near> the <age> <spot>. {he} pulled the <colour> blanket over "
        "{his} head.",
        "{H} was <scared> of the dark. at night, <time_short>, {he} heard a <sound> and then a <sound>.",
        "<time>, it grew dark early, and something <near> the <tree> went <sound>, <sound>, <sound>.",
    ],
    [
        '"who is there?" asked {H} <softly>. only a <sound> came back from <near> the <spot>.',
        "was it a <size_thing> <animal> with <colour> eyes? {H} felt <scared>, and {his} <part2> shook.",
        '"maybe it is a <colour> monster," {he} thought, "as big as a <spot>."',
    ],
    [
        "{he} took a <colour> lamp and a <size_thing> stick and tiptoed past the <spot> <softly>.",
        'then {E} came with a <size_thing> candle. "let us look together," {ehe} said <softly>.',
        "{H} counted to <number>, took a deep breath, and <walked> <near> the <tree>.",
    ],
    [
        "it was only a <size> {an} with a {O} on its head! {H} laughed <manner>.",
        'there sat a <size> {an}, <sad> and <scared> too. "I was looking for <meal>," it said.',
        "it was just a {O} that [swung|rolled|banged] in the wind and hit the <age> <spot>.",
    ],
    [
        '"there is nothing to be <scared> of," said {H} with <smile>, and {he} ate <treat>.',
        "now {H} was not <scared> at all. {he} [patted|hugged|kissed] {his} <colour> blanket and felt <happy>.",
        '"being brave," said {E}, "means you are <scared> but you look <near> the <spot> anyway."',
    ],
)

COOK = (
    [
        "<time>, {H} wanted to bake <baking> for {E}, who was <sad> and <tired>.",
        "<time>, {H} and {E} made a <size_thing> pie with <ripe> {fd} in it.",
        '"let us bake a pie with {fd}," said {E} <time_short>. {H} put on a <colour> <garment>.',
    ],
    [
        "{he} put in <number> cups of flour, <number> spoons of honey, and some <ripe> {fd}.",
        "first {he} washed the {fd}. then {he} mixed <number> eggs with <ripe> <fruit> and stirred <manner>.",
        "{he} cut the {fd} <manner> and put them in a <colour> bowl with <number> nuts.",
    ],
    [
        "but {H} used salt and not sugar! it tasted worse than <worn> <garment>s.",
        "then there was a <size_thing> <sound>. the <colour> bowl fell, and the {fd} rolled <near> the <spot>.",
        "but {H} was <hobby> and forgot the oven. soon <dull> smoke came out of the {home}.",
    ],
    [
        '"<ohno>! I have spoiled it," said {H} <softly>, and {he} was <sad>.',
        '{H} wanted to cry, but {E} said <softly>, "everyone makes <number> mistakes a day."',
        "a <trait> <bird> at the window laughed <manner>, and then {H} had to laugh too.",
    ],
    [
        "so they picked more {fd} <near> the <tree> and tried again <manner>.",
        "{H} cleaned the <spot2> <manner>, found <number> more {fd}, and began again.",
        '"we will add <meal> and try once more," said {E} with <smile>.',
    ],
    [
        "this time it was <tasty> and <nice>. {E} ate <number> pieces <manner>.",
        "soon the {home} smelled of {fd} and <drink>, and {E} was <happy>.",
        "everyone {inp} came to taste it, even a <trait> <animal> in a <colour> <garment>.",
    ],
)

GIFT = (
    [
        "<time>, {H} made a {O} out of <material> and <flower>. it was very <nice>, and {he} was <happy>.",
        "for <number> years, {H} had kept a {O} in a <age> box <near> the bed. {he} loved it.",
        "<time>, {E} gave {H} a {O} with <smile>. {he} took it {top}, <hobby> on the way.",
    ],
    [
        "then {he} met a <sad> {an} <near> the <spot>. it had no {o} and no friends.",
        '<near> the <tree> sat a <size> {an}. "why are you <sad>?" asked {H} <softly>.',
        "on the path {he} <found> a {an} in a <worn> <garment>, <sad> and <tired>.",
    ],
    [
        '"a <size_thing> wind took my {o}," said the {an}, "and all my <meal>."',
        '"I never had a <nice> {o} like yours," said the {an} <softly>.',
        "the {an} said <softly> that it was alone this <season>, with only <number> <bug>s to talk to.",
    ],
    [
        "{H} thought about it <while>. it was hard to give away the {O}.",
        "{H} looked at the {o}, and {he} looked at the <sad> {an}. {he} knew what to do.",
        "{he} held the {o} <near> {his} face one last time, and it felt <warm>.",
    ],
    [
        '"here, take it," said {H} <softly>. the {an} jumped <manner> and was <happy>.',
        '{he} put the {o} in the hands of the {an}. "now it is yours," {he} said with <smile>.',
        '"this {o} is for you," said {H}, "and this <food_one> is for us both."',
    ],
    [
        "{H} had no {o} now, but {he} had a new friend for <hobby>.",
        "the next <daypart>, the {an} brought {him} <treat> and <number> <flower>.",
        "all the way home {H} felt <happy>, as if {he} had <number> suns in {his} <garment>.",
    ],
)

RACE = (
    [
        "<time>, there was a race from the <spot> to the <tree>. {H} and {F} wanted to win a {O}.",
        '"I can run faster than you," said {F} <time_short>. "then let us race {top}!" said {H} <quickly>.',
        "<time>, all the children and <animal>s {inp} met for a <size_thing> race. the prize was a {O}.",
    ],
    [
        "{E} counted to <number>, a bell rang, and off they ran <near> the <nat>.",
        "{F} ran <manner> past the <age> <spot>, and {H} was just behind, in a <colour> <garment>.",
        '"go!" shouted {E}. <number> <bird>s flew up as they raced past the <tree>.',
    ],
    [
        "then {F} fell over a <size_thing> stone <near> the <spot> and hurt {fhis} <part>.",
        "but {F} slipped on the mud, with a <sound>, and sat <near> the <spot>, <sad> and <tired>.",
        'halfway there, <near> the <tree>, {F} could run no more. "my foot!" {fhe} cried.',
    ],
    [
        "{H} could see the {O}. {he} could win! but {he} stopped <near> the <spot> and turned back.",
        "{H} did not think of the {o} now. {he} <walked> back <gladly> and took {F} by the hand.",
        '"winning is <nice>," thought {H}, "but {F} needs me." {he} went back <manner>.',
    ],
    [
        '"lean on me," said {H} <softly>. they walked past the <spot> together, <number> steps at a time.',
        "{he} tied {his} <colour> <garment> around the foot and carried {F} <manner>.",
        "they came in last, after a <size_thing> <animal> and <number> <bug>s, but they laughed.",
    ],
    [
        "everyone clapped <gladly>. {E} gave them both <treat>, and a {O} for being kind.",
        '"you are the true winner," said {E} with <smile>, and {F} said so too.',
        "the <trait> <animal> who won shared the {o} with them <near> the <spot>.",
    ],
)

GROW = (
    [
        '<time>, {E} gave {H} <number> <size> seeds. "plant them <near> the <spot>," {ehe} said.',
        "<time>, {H} <found> a <colour> seed <near> the <tree> and put it in a <age> pot.",
        "{H} wanted to grow <ripe> {fd} for the <season> fair, so {he} dug <number> holes <near> the <spot>.",
    ],
    [
        "every <daypart> {he} gave it water from a <colour> bucket and sang <softly>.",
        "{he} watered it <manner>, pulled out the weeds, and told it stories of <animal>s.",
        "{he} put <material> around it, so that no <animal> would step on it.",
    ],
    [
        '<number> days went by, but nothing came up. {H} was <sad>. "why does it not grow?" {he} asked.',
        "{H} waited and waited. a <bug> came, and a <bird> came, but no plant. {he} felt <sad>.",
        '"grow <quickly>!" said {H}, but all {he} saw was <dull> earth and <number> <bug>s.',
    ],
    [
        '"good things take time," said {E} <softly>. "have some <drink> and wait until <weekday>."',
        '{E} came with <treat>. "a seed sleeps first," {ehe} said, "like a <animal> in a <colour> blanket."',
        'a <trait> <bird> <near> the <spot> said, "It needs <mild> sun and <number> more days."',
    ],
    [
        'then, <time_short>, there was a <size> green leaf! "<wow>!" cried {H} <quickly>.',
        "on <weekday>, after a <mild> rain, <number> leaves came up <near> the <spot>.",
        "when {H} woke up on <weekday>, a plant as <size_thing> as a <garment_one> stood there, full of <flower>.",
    ],
    [
        "in <season>, {H} picked <number> baskets of {fd} and shared them {inp}.",
        "it grew <size_thing> and <nice>, until the <bird>s could sit in it.",
        "{he} gave the best flower to {E} with <smile>, and kept <number> seeds for next <season>.",
    ],
)

NEWCOMER = (
    [
        "<time>, a <size> {an} came to live {inp}. it had a <colour> <garment>, and it talked to no one.",
        "<time>, a {an} moved into the <age> house <near> the <spot>. it brought <number> boxes and a {O}.",
        "<time>, {H} saw a new {an} <near> the <tree>. it sat alone and looked <sad>.",
    ],
    [
        '"it is too <odd> for me," said one <animal>. "and its <garment> is too <colour>," said a <bird>.',
        "the others were <hobby> and did not ask the {an} to play.",
        '"hello," said {H} <softly>, but the {an} hid <near> the <spot>.',
    ],
    [
        "{H} knew how it felt to be <sad>. {he} put <treat> <near> the <spot> and waited <softly>.",
        "the next <daypart>, {H} brought <treat>, sat <near> the <tree>, and sang about <flower>.",
        '"do you like <meal>?" asked {H} with <smile>. the {an} came <number> steps closer.',
    ],
    [
        '"I am <scared> of new places," said the {an} <softly>. "this {pl} is so <size_thing>."',
        '"I miss my old home and the <nat>," said the {an}, and {H} held its <garment>.',
        'the {an} showed {him} a {O}. "I can make it spin <number> times," it said.',
    ],
    [
        "so they played with a {O} <near> the <tree> until they were <tired>.",
        "{H} showed the {an} the <nat>, the <age> <spot>, and the best place for <hobby>.",
        "soon <number> <animal>s came to see, and all of them were <hobby> together.",
    ],
    [
        "now the {an} was <happy>, and it danced <manner> in its <colour> <garment>.",
        '"this {pl} is my home now," said the {an} with <smile>.',
        "even the <trait> <animal> said sorry, and they all shared <treat>.",
    ],
)

TRUTH = (
    [
        '{E} had a <nice> {O}. "please do not touch it," {ehe} said <time_short>. but {H} was too curious.',
        "<time>, {E} went {top} to buy <meal>. {H} took the {O} from the <size_thing> box <softly>.",
        "<time>, {H} played with the {O} of {E}, without asking, <near> the <age> <spot>.",
    ],
    [
        "{he} was <hobby> when the {o} slipped. <sound>! it fell on the floor and broke in <number> pieces.",
        "a <bird> <sang> <manner>, {H} jumped, and the {o} broke with a <size_thing> <sound>.",
        "{he} threw it up <number> times, and then it fell <near> the <spot> with a <sound>.",
    ],
    [
        "{H} was <scared>. {he} hid the {o} <near> the <spot>, under <number> <garment>s.",
        '"maybe nobody will see," {he} thought, and put the {O} <near> the <age> <spot>.',
        "{he} thought of saying that a <trait> <animal> did it. {his} <part> felt "
        "[cold|hot|heavy|strange|cold and heavy].",
    ],
    [
        '"where is my {o}?" asked {E} that <daypart>, over a cup of <drink>. {H} could not eat the <food>.',
        "that night {H} was too <sad> to sleep. {he} looked at the <nat> and thought about the {o}.",
        "{E} looked <near> the <spot> and <near> the <tree>. {ehe} was <sad>, and {H} was <sad> too.",
    ],
    [
        'at last {he} told the truth. "I broke your {O}," {he} said <softly>. "I am very sorry."',
        '"it was me," said {H} <softly>. "it was not the <bird> or the <animal>."',
        "{he} <walked> to {E}, gave {ehim} the pieces, and told {ehim} all about it.",
    ],
    [
        '{E} was quiet. then {ehe} said, "Thank you for telling me. you are more <precious> to me than any {o}."',
        '"I am glad you told me," said {E} with <smile>. they fixed the {o} with <colour> glue.',
        "{E} hugged {him} <softly>. they mended it together and painted <number> <flower> on it.",
    ],
)

BEDTIME = (
    [
        "one <nightadj> night, {H} could not sleep. {he} turned over <number> times in {his} <homely> bed.",
        "it was late, and the <nat> were dark, but {H} was not <tired>. {he} sat up <manner>.",
        "at bedtime on <weekday>, {H} held a {O} and looked at the moon over the <nat>.",
    ],
    [
        "{he} counted <number> <animal>s, then <number> <bird>s, but {he} was still awake.",
        "{he} drank some <drink> and put on a <colour> <garment>, but it did not help.",
        '"I have too many thoughts about <meal> and <flower>," {he} said <softly>.',
    ],
    [
        '{E} came in with a <size_thing> candle. "shall I tell you about the <trait> <animal>?" {ehe} asked.',
        '{E} sat <near> the bed <softly>. "look, there are <number> stars <near> the <tree>," {ehe} said.',
        'a <size_thing> <bird> at the window <sang> <softly>. "why are you awake?" it asked.',
    ],
    [
        '"once, a <colour> <animal> wanted to catch the moon with a <colour> <garment>," the story began.',
        '"think of a <soft> boat full of <flower>," said the voice, "with a <animal> <near> you."',
        "it was a story about <number> <animal>s who were <hobby> on the moon.",
    ],
    [
        "{H} listened <manner>. {his} <part2> grew heavy, and the <colour> blanket was <warm>.",
        "soon {H} smiled. {he} saw the <nat>, the <animal>, and the <colour> stars in {his} head.",
        "before the <animal> could <do>, {H} was asleep, with a {O} in {his} arms.",
    ],
)

MYSTERY = (
    [
        "<time>, {H} <found> <size_thing> footprints <near> the <age> <spot>. who had been there?",
        "<time>, all the <ripe> {fd} <near> the <spot> were gone. {H} wanted to know who took them.",
        "for <number> days, {H} had heard a <sound> <near> the <tree> every <daypart>. what was it?",
    ],
    [
        '"was it you?" {he} asked a <trait> <animal>. "not me," it said, "I was <hobby>."',
        "{he} took a {O} and a <size_thing> bag and followed the trail past the <nat>.",
        '{he} asked <number> <bird>s and a <bug>, but none of them knew. "look <near> the <spot>," said one.',
    ],
    [
        "the trail went <near> a <spot>, over the <nat>, and around a <age> <tree>.",
        "{he} <found> a <colour> feather, then a <worn> <garment>, then <number> crumbs.",
        "{he} hid <near> the <spot> in a <colour> <garment> and waited <softly> for <number> hours.",
    ],
    [
        "then there was a <sound>, and out came a <size> {an}, with <meal> on its nose!",
        "<near> the <tree> {he} <found> a <sad> {an} with <number> babies. they were hungry.",
        'it was a <trait> {an} in big <colour> boots. "<ohno>, you found me," it said.',
    ],
    [
        '"I was making a surprise for everyone {inp}," said the {an}, and showed {him} <treat>.',
        '"I am sorry," said the {an} <softly>. "you could have asked," said {H}, and gave it <treat>.',
        '"I only wanted to <do>," said the {an}. {H} laughed <manner> and was not <scared>.',
    ],
    [
        "so the mystery was solved, and {H} had a new friend for <hobby>.",
        "{H} told {E} with <smile>, and they ate <meal> with the {an}.",
        "after that, {H} and the {an} met <near> the <spot> every <weekday>.",
    ],
)

SKILL = (
    [
        "{H} could not {sk}. <time>, {he} saw a <trait> <animal> {sk} <near> the <spot>, and {he} wanted to learn.",
        '"I wish I could {sk}," said {H} <time_short>, for everyone {inp} could do it but {him}.',
        '<time>, {F} asked {H} to {sk}. "I do not know how," said {H}, feeling <sad>.',
    ],
    [
        '"I will teach you," said {F} <softly>. "come <near> the <tree> on <weekday>, and bring <treat>."',
        "{F} showed {him} how to {sk}, <number> times, <near> the <age> <spot>.",
        '"it is not hard," said {F} with <smile>. "watch my [feet|hands|arms|legs|face]."',
    ],
    [
        "{H} tried <manner>, but with a <sound> {he} fell <near> the <spot>. a <bird> laughed.",
        "the first time was bad. the next <number> times were worse. {H} was <sad> and <tired>.",
        '"I will never {sk}!" cried {H}, and {he} threw {his} <colour> <garment> <near> the <tree>.',
    ],
    [
        '"I fell <number> times too," said {F}. "eat some <food>, and then try again <softly>."',
        '{E} said, "Even the <bird>s had to learn to fly, <number> <season>s ago."',
        "so {H} tried every <daypart>, in <wadj> weather too, until {his} <part2> were <weary>.",
    ],
    [
        'then, <time_short>, it worked! "<wow>! I can {sk}!" shouted {H} <quickly>.',
        "after <number> days, {H} could {sk} as well as any <animal> {inp}.",
        "and on <weekday>, <near> the <spot>, {H} did it, and {F} clapped <manner>.",
    ],
    [
        "now {H} and {F} practiced together every <weekday>, <near> the <tree>.",
        "{H} taught a <size> <animal> to {sk} too, <softly>, with <smile>.",
        "{E} came to see, ate <treat>, and was <happy> for {him}.",
    ],
)

SOLO_OUTLINES = (WANT, RESCUE, NURSE, JOURNEY, FEAR, COOK, GIFT, GROW, NEWCOMER, TRUTH, BEDTIME, MYSTERY)
FRIEND_OUTLINES = (LOST, QUARREL, STORM, BUILD, SURPRISE, RACE, SKILL)

NIGHT_OUTLINES = (BEDTIME, FEAR)
NO_SNOW_OUTLINES = (STORM, GROW)

LISTS = {
    "nightadj": listed("quiet dark long still cool warm starry calm"),
    "odd": listed("quiet shy silly bold strange sleepy funny serious loud"),
    "time_short": ["one <daypart>", "that <daypart>", "one <wadj> <daypart>", "on <weekday>", "one <weekday>"],
    "material_one": listed("rope blanket ladder basket lamp"),
    "part2": listed("ears legs arms hands feet knees shoulders eyes"),
    "spot2": listed("floor|table|kitchen|bowl|stove|shelf", "|"),
    "food_one": listed("cookie bun plum pear apple peach muffin tart"),
    "garment_one": listed("coat scarf hat cape boot sock"),
    "do": listed("dance|sing|jump|eat|rest|swim|play|laugh|look at the <nat>|taste the <food>", "|"),
}

BIG_PLACES = [
    "great waterfall", "highest hill", "hidden lake", "tall tower", "end of the rainbow", "old castle", "big city",
    "crystal cave", "singing woods", "snowy mountain", "edge of the sea", "secret valley", "giant oak", "lost island",
    "moonlit bay", "silver river", "sleeping volcano", "glass palace", "island of birds", "field of stars",
]  # fmt: skip
