"""Sentence frames that any training story may use: openings, friends, weather, feelings, closings.

The language is that of story_corpus.py. A frame is one or two sentences; every frame offers many independent choices,
because the share of 12-word windows that the model repeats from its training text is bounded.
"""

from __future__ import annotations

TIME = [
    "one <wadj> <daypart>", "on a <wadj> <daypart>", "early one <wadj> morning", "late one <wadj> afternoon",
    "one <weekday> <weekpart>", "one <daypart> in <season>", "on the first <wadj> day of <season>",
    "one <wadj> <weekday>", "last <season>, on a <wadj> <daypart>", "on <weekday> <weekpart>", "one day",
    "the next <daypart>", "after breakfast", "after [lunch|a nap|a long sleep|school]",
]  # fmt: skip

OPENINGS = [
    "once upon a time, there was a {size} {kind} named {H}. {he} [loved|liked|enjoyed] <hobby> [and|or] <hobby>.",
    "once upon a time, there was a {trait} {kind} [called|named] {H}. {he} lived in a <homely> {home} {inp}.",
    "once upon a time, there was a {size} {kind} who [loved|liked] <hobby>. {his} name was {H}.",
    "once upon a time, there lived a {trait} {size} {kind}. {his} name was {H}, and {he} [loved|liked] <hobby>.",
    "once upon a time, a {size} {kind} named {H} lived {inp} with {E}.",
    "once upon a time, a {trait} {kind} [called|named] {H} had a <size_thing> <colour> {home} near a <nice> <tree>.",
    "once upon a time, {inp}, there was a {size} {kind} named {H} who wore a <colour> <garment>.",
    "once upon a time, {H} the {size} {kind} was <hobby> {inp}.",
    "once there was a {trait} {kind} named {H}. {he} was very good at <hobby>, but not at <hobby>.",
    "{H} was a {size} {kind} with a <colour> <garment>. {he} [loved|liked|enjoyed] <hobby> {inp}.",
    "{H} was a {trait} {kind} who lived in a <age> {home} {inp}. <time>, {he} was <hobby>.",
    "there was once a {size} {kind} named {H}, and everyone {inp} knew how {trait} {he} was.",
    "in a <size_thing> <colour> {home} {inp} lived a {trait} {kind}. {his} name was {H}.",
    "long ago, a {trait} {kind} named {H} lived {inp}. {he} spent every <daypart> <hobby>.",
    "<time>, a {size} {kind} named {H} was <hobby> {inp}.",
    "<time>, {H} the {kind} put on {his} <colour> <garment> and <walked> {top}.",
    "<time>, <sky>. a {trait} {kind} named {H} <walked> {top} <gladly>.",
    "not far from [here|the sea|the <nat>], there lived a {size} {kind}. {he} was called {H} and liked <hobby>.",
    "every <daypart>, a {size} {kind} named {H} <walked> {top} to [sing|play|rest|think] <near> the <age> <spot>.",
    "this is [a|the] story [of|about] {H}, a {trait} {kind} who loved <hobby> more than <hobby>.",
]  # fmt: skip

FRIENDS = [
    "{his} best friend was a {fkind} named {F}, who [loved|liked] <hobby>.",
    "{he} had a friend named {F}. {F} was a {ftrait} {fkind} with a <colour> <garment>.",
    "{his} friend {F} was a {ftrait} {fkind} who lived <near> the <age> <spot>.",
    "next door lived a {fkind} called {F}, who was very {ftrait} and always <hobby>.",
    "{he} often played with {F}, a {ftrait} {fkind} [from|who came from] the other side of the {pl}.",
    "{H} and a {fkind} named {F} [did everything together|were best friends|played every <daypart>] {inp}.",
    "with {him} was {F}, a {ftrait} {fkind} who liked <meal> and <hobby>.",
]  # fmt: skip

# Sentences that fit anywhere once the hero is known.
TEXTURES = [
    "<sky>, and a <size_thing> <bird> <sang> <near> the <age> <spot>.",
    "a <colour> <bug> [hurried|moved|danced|wandered] past the <age> <spot> <scene>.",
    "<sky>. {H} [hummed|smiled|sighed|yawned] <softly> and [pulled on|straightened|buttoned] {his} "
    "<colour> <garment>.",
    "the <skyadj> <daypart> smelled of <flower> and <meal>.",
    "somewhere <near> the <tree>, a <bird> <sang> <manner>.",
    "{H} had some <meal> in {his} [bag|basket|backpack|lunch box], and {he} ate [one|some|a few|all of "
    "them] <manner>.",
    "<number> <bird>s <sang> in the <nice> <tree> {inp}.",
    "{H} stopped [once|twice|for a moment|for a while] to look at the <colour> <flower> <near> the <spot>.",
    "<sky>, but {H} [felt|stayed|was] <happy> all the same.",
    "the path was [long|narrow|wide|steep|winding|crooked] and [dusty|muddy|stony|grassy], and <number> "
    "<bug>s crawled [along|over|across] it.",
    "[far away|somewhere], a bell rang <number> times <scene>.",
    "{H} had [cold|warm|muddy|dusty] [toes|ears|hands], so {he} [sang|hummed|whistled] a <happy> song "
    "about <flower>.",
    "a <size_thing> <animal> [watched|waved|looked on|listened] from <near> the <age> <spot>.",
    "{H} could smell <meal> from the <colour> {home} <near> the <tree>.",
]  # fmt: skip

CLOSINGS = [
    "that [night|evening], {H} [fell asleep|went to bed|slept] <softly> and dreamed of <colour> <flower>.",
    "then {H} <walked> [home|back home] <gladly>, and {E} gave {him} <treat>.",
    "and every <weekday> <weekpart> after that, {H} went back {top}, <hobby> all the way.",
    "when the [moon|first star|evening star] came up over the <nat>, {H} was already [asleep|dreaming] in {his}"
    " <homely> bed.",
    "\"what a <nice> day,\" said {H} with <smile>. then {he} ate <treat> and went to sleep.",
    "it had been a long day, but {H} was <happy> and not <tired> at all.",
    "{H} [told|sang about|wrote about] it to {E} that evening, over <treat> and a cup of <drink>.",
    "the <bird>s <sang>, the <nat> [shone|glowed|turned gold], and {H} went home with <smile>.",
    "to this day, {H} [smiles|laughs|grins] when {he} sees a <colour> <bug> or smells <meal>.",
    "{E} was very proud, and they [all ate|shared|had] <treat> <near> the <age> <spot>.",
    "and that is how a {trait} {kind} named {H} had the best <weekday> of the whole <season>.",
    "{he} kept a <colour> [leaf|stone|shell|flower|feather] from that day in a <size_thing> box <near> {his} bed.",
]  # fmt: skip

FRIEND_CLOSINGS = [
    "{H} and {F} [laughed|danced|sang|talked] until the [moon|stars|evening star] came up over the <nat>.",
    "then {H} and {F} sat <near> the <age> <spot> and shared <treat>.",
    "from that day on, {H} and {F} met every <weekday> {inp} [for <treat>|to play|to talk about <hobby>].",
    "\"you are my best friend,\" said {F} <softly>. {H} gave {fhim} a [big|long|warm] hug and <treat>.",
    "{H} and {F} <walked> home together, <hobby> and feeling very <happy>.",
    "after that, {F} and {H} were [never lonely again|always together|the best of friends], in <wadj> "
    "weather or not.",
    "that evening, {E} made <treat> for {H} and {F}, and they ate <manner> <near> the fire.",
    "\"let us do this again [tomorrow|next <weekday>|every <weekday>],\" said {F}. {H} nodded with <smile>.",
    "{F} waved <manner> and <walked> home. {H} went to bed <happy> and dreamed of <meal>.",
]  # fmt: skip

NIGHT_CLOSINGS = [
    "that night, {H} [slept|dreamed] <softly>, and in {his} dream a <colour> <animal> <sang> <near> the <tree>.",
    "in the morning, {E} made <treat>, and {H} was <happy> and not <tired> at all.",
    "outside, the [moon|stars] <shone> on the <nat>, and <number> <bird>s slept <softly> in the <tree>.",
    '"good night," said {E} <softly>. "good night," said {H} with <smile>, and the candle went out.',
    "{H} slept until <number>, and when {he} woke up, <sky>.",
    "and after that, {H} was never <scared> at night again, for {he} thought of <flower> and <meal>.",
]

LISTS = {"time": TIME}
