"""Plot outlines of the training stories: what happens, beat by beat, each beat a choice of frames.

An outline is a tuple of beats; a story takes one frame of each, in order. {H} is the hero, {F} the friend, {E} the
elder, {O} the thing of the story with its colour and {o} without, {fd} a food. The outlines in FRIEND_OUTLINES begin
with the friend introduced; the others bring their own helpers or none.
"""

from __future__ import annotations

LOST = (
    [
        "<time>, {H} lost {his} {O}. {he} had it <near> the <age> <spot>, but now it was gone.",
        "<time>, the {O} was not in its place. {H} felt <sad>, for {E} had given it to {him} last <season>.",
        "<time>, {H} dropped {his} {O} somewhere <near> the <tree>, and that made {him} <sad>.",
        "{H} had a <nice> {O}. <time>, {he} looked in {his} <size_thing> bag, and the {o} was not there!",
    ],
    [
        "{he} <looked> <near> the <age> <spot>, but found only <number> <colour> leaves.",
        "{he} <looked> <near> the <spot> and <near> the <tree>. all {he} found was a <worn> <garment>.",
        '"<ohno>! where is my {o}?" cried {H}. {he} <looked> <near> every <spot> {inp}.',
        "{H} <walked> {top} and <looked> <near> the <spot>, but there was only a <colour> <bug>.",
        "first {he} <looked> <near> the <spot>, then <near> the <tree>, and then in {his} own <garment>.",
    ],
    [
        '"have you seen a {O}?" {he} asked {F}. "not [yet|today|since <weekday>]," said {F}, "but I can help you."',
        '{F} saw that {H} was <sad> and came over <manner>. "let us look for your {o} together," said {F}.',
        '"I lost my {O}," {H} told {F} <softly>. "then we will look <near> the <tree>," said {F}.',
        '{F} put down <treat> and listened. "when did you last have the {o}?" asked {F} <softly>.',
    ],
    [
        "they <looked> <near> the <age> <spot>, and there was the {O}, under <number> <colour> leaves!",
        "then {F} <found> something {c} <near> the <spot>. it was the {o}, a bit [wet|dusty|muddy], but safe.",
        "a <size_thing> <bird> had taken the {o} to its nest in the <tree>. {F} climbed up and got it back.",
        "at last {H} <found> the {O} <near> the <age> <spot>. a <animal> was sleeping on it!",
        '{F} looked at {H} and laughed. "your {o} is <near> your own <garment>!" And so it was.',
    ],
    [
        '"thank you, {F}!" said {H} with <smile>. {he} held the {o} <softly> and felt <happy>.',
        "{H} was so <happy> that {he} gave {F} <treat> and let {fhim} play with the {o}.",
        '"I will put my {o} <near> the bed every <daypart>," said {H}, feeling <happy> again.',
    ],
)

WANT = (
    [
        "<time>, {H} <found> a {O} in the <size_thing> shop {inp}. {he} wanted it [so much|very "
        "much|badly|right away] and could think of nothing else.",
        "{H} wanted a {O} more than <treat>. but {he} had only <number> [pennies|coins|buttons] in {his} <garment>.",
        "<time>, {E} took {H} to a shop full of <nice> things. there, <near> a <colour> box, was a {O}.",
        "all <season> long, {H} wished for a {O} as <nice> as the one <near> the shop window.",
    ],
    [
        '"you can earn it," said {E} <softly>. "help me [pick|wash|carry|sell] the <fruit>, and you may have '
        '<number> coins."',
        '"may I have it?" asked {H}. {E} thought for a while. "work for <number> days, and we will see," {ehe} said.',
        '"how can I get the {o}?" asked {H} <softly>. "help others, and count your coins," said {E} with <smile>.',
    ],
    [
        "so {H} swept the <age> steps, fed the <animal>, and carried <number> baskets of <fruit>.",
        "so {he} painted the <spot> <colour> and picked <number> baskets of <ripe> <fruit>.",
        "on <weekday> {he} washed the <colour> <garment>s, and on <weekday> {he} sold <food> {inp}.",
        "every <daypart> {H} watered the <flower> and brushed the <animal>, until {he} was <tired>.",
    ],
    [
        "it was hard work. sometimes {he} was <tired>, but {he} thought of the {O} and went on <manner>.",
        "{his} <part> ached, and <meal> would have been nice, but {he} did not stop.",
        "{he} put each coin in a <age> box <near> the bed and counted them <manner> every <daypart>.",
    ],
    [
        "after <number> days, {H} had enough coins. {he} <walked> to the shop and bought the {o} <gladly>.",
        'at last, on a <wadj> <weekday>, {E} put the {O} in {his} arms. "you earned it," {ehe} said.',
        "<number> days later, {H} <walked> home with the {o} in {his} arms, <happy> and a bit <tired>.",
    ],
    [
        "the {o} was even more <precious> because {he} had worked for it.",
        "{H} let every <animal> {inp} try the {o}, and they were <happy> too.",
        "{he} played with the {o} all <daypart>, <near> the <spot> and <near> the <tree>.",
    ],
)

QUARREL = (
    [
        '<time>, {H} and {F} <found> a {O} <near> the <age> <spot>. "it is mine!" said {H}. "no, I saw it '
        'first!" said {F}.',
        "<time>, {H} brought a {O} {top}. {F} wanted to play with it too, but {H} [held it tight|hid "
        "it|would not share].",
        "<time>, {F} came with a {O}. {H} wanted it so much that {he} took it <quickly>, without asking.",
    ],
    [
        "they pulled and pulled, until the {o} flew over the <spot> and landed in the mud.",
        '"give it to me!" shouted {F}. they both pulled, and the {o} fell into a <size_thing> puddle <near> '
        "the <tree>.",
        "they shouted so loudly that <number> <bird>s flew out of the <tree>. then the {o} fell and [broke|cracked].",
    ],
    [
        "{F} <walked> home with a <sad> face. {H} sat <near> the <spot> and felt <sad> too.",
        "for <number> days, {H} and {F} did not talk. playing alone with <material> was no fun at all.",
        "{H} looked at the {O}, but {he} was not <happy> now. {he} missed <hobby> with {F}.",
    ],
    [
        '"what is wrong?" asked {E}. {H} told {ehim} about the {o}. "a friend is better than any {o}," said '
        "{E} <softly>.",
        '{E} gave {him} a cup of <drink>. "you can share a {o}," {ehe} said, "but you cannot play alone."',
        'then {H} thought about {F} and <meal> for two. "I was not kind," {he} said <softly>.',
    ],
    [
        'so {H} cleaned the {o} and <walked> to {F}. "I am sorry," {he} said. "I am sorry too," said {F} with <smile>.',
        '{H} took <treat> and the {o} to {F}. "please forgive me," said {H} <softly>, and {F} did.',
        'the next <daypart>, they met <near> the <spot>. "you go first," said {H}, and gave {F} the {O}.',
    ],
    [
        "they took turns with the {o}, and it was twice as [much fun|nice|good] as before.",
        "{F} had the {o} until [noon|lunch|<number>], then {H} had it, and both were <happy>.",
        "they washed the {o} and played <near> the <tree> <while>.",
    ],
)

RESCUE = (
    [
        "<time>, {H} heard a <sound> <near> the <age> <spot>. it was a <size> {an}, and its foot was stuck.",
        '<time>, a <size> {an} fell into a <size_thing> hole <near> the <tree>. "help!" it cried.',
        "on the way {top}, {H} <found> a <sad> {an}, with its tail stuck <near> a <age> <spot>.",
    ],
    [
        '"do not be <scared>," said {H} <softly>. "I will help you."',
        "the {an} was <scared>, so {H} sat down <near> it and sang a <happy> song.",
        '"<ohno>!" said {H}. "wait here, {size} {an}, while I get a <material_one> and <treat>."',
    ],
    [
        "{he} pulled <softly> with both hands, but the {an} did not move. so {he} tried a <size_thing> stick.",
        "{he} tied {his} <colour> <garment> to the <tree> and let it down <manner>. the {an} held on tight.",
        "{he} called {E}, who came <quickly> with a <colour> <garment> and a <age> ladder.",
    ],
    [
        "at last the {an} was free! it shook its <part2> and looked <happy>.",
        "<sound>! out came the {an}, <happy> and safe, and shook its <part2> <manner>.",
        "then, with a <sound> and a <sound>, the {an} came out and jumped <near> the <tree>.",
    ],
    [
        '"thank you," said the {an} with <smile>. "when you need me, call my name <number> times."',
        "the {an} gave {H} a {O} to say thank you. it was the most <precious> {o} {inp}.",
        "the {an} brought its <number> brothers, and they danced around {H} <while>.",
        '"you are very kind," said the {an}, and it gave {him} <treat>.',
    ],
)

NURSE = (
    [
        "<time>, {H} <found> a <size> {an} <near> the <spot>. it was <tired> and could not walk.",
        "<time>, a <trait> <bird> told {H} that a <size> {an} was ill <near> the <age> <spot>.",
        "on the way {top}, {H} <found> a <sad> {an}, all alone, with a hurt foot, <near> a <age> <spot>.",
    ],
    [
        '"do not be <scared>," said {H} <softly>. "I will take care of you."',
        "{he} wrapped the {an} in {his} <colour> <garment> and carried it home <while>.",
        "{H} put the {an} on a bed of <flower> and went for <drink>.",
    ],
    [
        "{he} washed its <part2> <softly> and gave it <treat> and a cup of <drink>.",
        '{E} came with a <colour> <garment> and <drink>. "it needs rest," {ehe} said, "and <meal>."',
        "for <number> days, {H} sat beside the {an}, <hobby> and telling it about the <animal>s.",
    ],
    [
        "soon the {an} felt better. it drank <drink> and ate <treat>.",
        "after <number> days <near> the fire, the {an} could run and jump <manner> again.",
        "on <weekday>, the {an} got up, shook its <part2>, and danced <near> the <tree>.",
    ],
    [
        '"I will never forget you," said the {an} with <smile>, and it <walked> home <gladly>.',
        "the {an} gave {H} a {O} to say thank you. it was the most <precious> {o} {inp}.",
        "from then on, the {an} came <near> the <spot> every <weekday> with <treat> for {H}.",
    ],
)

STORM = (
    [
        "<time>, {H} and {F} went {top} to play with a {O} and eat <treat>.",
        "<time>, {H} took a {O} and <treat>, and {F} took a <colour> <garment>. they <walked> {top}.",
        "<time>, {H} and {F} were <hobby> <near> the <tree>, far from {his} {home}.",
    ],
    [
        "all at once, the sky turned <dull>. thunder rolled over the <nat>, and rain fell on the <spot>.",
        "then <fat> clouds came, and rain [fell|poured|splashed] on the <nat>. their <garment>s were wet in no time.",
        "[suddenly|but soon], it rained so hard that the <nat> and the <age> <spot> could not be seen.",
    ],
    [
        '"I am <scared>," said {F}. {H} took {fhis} hand. "come, let us hide <near> the <spot>!"',
        '"run!" cried {H} <quickly>. they <walked> <near> the <age> <spot> and sat close together.',
        '{H} was <scared> too, but {he} held {F} and said, "It is only a <size_thing> noise, like a <sound>."',
    ],
    [
        "to pass the time, they told stories about a <colour> <animal> and a <trait> <animal>.",
        "they ate some <meal> and counted to <number> each time the thunder went <sound>.",
        "they sang a <happy> song about <meal> and <number> <bird>s.",
    ],
    [
        "at last the rain stopped. the <nat> <shone>, and a rainbow stood over the <age> <spot>.",
        'then the clouds went away, and <warm> light fell on the <nat>. "<wow>, a rainbow!" said {F}.',
        "when it was over, {H} and {F} jumped in <number> puddles and laughed <manner>.",
    ],
    [
        '{E} came with <drink> and a <colour> blanket. "you were very brave," {ehe} said.',
        "they <walked> home, wet but <happy>, and {E} gave them <treat> and <drink>.",
        '"storms are not so bad with a friend," said {F} with <smile>.',
    ],
)

JOURNEY = (
    [
        "<time>, {H} wanted to see the {bigplace}. {E} gave {him} <treat> and a {O} for the way.",
        '"what is behind the {bigplace}?" asked {H} <time_short>. nobody {inp} knew, so {he} packed a {O} and <treat>.',
        "<time>, a <bird> told {H} about a <nice> {bigplace} far away. {he} put on {his} <colour> <garment> "
        "and left <manner>.",
    ],
    [
        "{he} <walked> past the <age> <spot> and the <tree>, and crossed <number> <size_thing> bridges.",
        "first {he} <walked> past the <nat>. then {he} came to a <size_thing> river, too deep to cross.",
        "the way was long. {he} slept <near> a <tree> and ate <meal> <near> a <spot>.",
    ],
    [
        'there {he} met a <trait> {an}. "which way is the {bigplace}?" asked {H}. "go past the <spot>," said the {an}.',
        "a <age> tree lay over the path. {H} could not climb it, so {he} asked a <trait> {an} for help.",
        "then <soft> fog came, and {H} was lost and <scared>. a {an} with a <colour> <garment> took {his} hand.",
        '"I am hungry," said a <sad> {an} <near> the <spot>. {H} shared {his} <food>, and the {an} came along.',
    ],
    [
        "they made a boat out of <material> and the {O}, and went on <manner> <while>.",
        "the {an} pushed and {H} pulled, <number> times, and at last they got past.",
        "they <walked> on together, <hobby>, until their <part2> were <weary>.",
    ],
    [
        "then, at last, {he} <found> the {bigplace}. <sky>, and it was more <precious> than any dream.",
        "<number> days later, they stood at the {bigplace}. <number> <colour> <bird>s flew over it <while>.",
        'there was the {bigplace}, <size_thing> and <nice> and full of <flower>. "<wow>!" said {H}.',
    ],
    [
        "{H} took home a <colour> stone and told {E} [all about|everything about|the story of] the {bigplace}.",
        '"I will come back in <season>," said {H} to the {an}, and {he} <walked> home <gladly>.',
        '{E} was waiting <near> the <spot> with <treat>. "welcome home, traveler," {ehe} said.',
    ],
)

BUILD = (
    [
        "<time>, {H} and {F} wanted to build a {cr}. they [gathered|carried|brought] <number> <material> and "
        "some <material> {top}.",
        '"let us build a {cr}," said {H} <time_short>. "yes, <near> the <tree>!" said {F} <quickly>.',
        "<time>, {H} drew a picture of a <colour> {cr}. {F} liked it, and they looked for <material> {inp}.",
    ],
    [
        "{H} held the <material>, and {F} tied them with a {O} and <number> knots.",
        "they worked <near> the <spot> all <daypart>, with <material> and <material>.",
        "{F} painted the front <colour>, and {H} painted the back <colour>.",
    ],
    [
        "but <time_short>, there was a <size_thing> <sound>, and the {cr} fell down. {F} was <sad>.",
        "but a <trait> <animal> leaned on it, and <sound>! all the <material> fell on the <flower>.",
        "but the {cr} was too <size_thing>, and it broke in <number> places.",
    ],
    [
        '"we must not give up," said {H} <softly>. "let us use <material> this time, and more <material>."',
        '{E} came by with <treat>. "make the bottom wide and the top light," {ehe} said.',
        '{F} sat down <near> the <spot> and thought. "we need <number> more <material>," {fhe} said.',
    ],
    [
        "they tried again <manner>, and this time the {cr} stood as strong as a <tree>.",
        "<number> hours later, the {cr} was done. it was <size_thing> and <colour> and very <nice>.",
        "so they built it again, piece by piece, until the <bird>s <sang> and the {cr} was ready.",
    ],
    [
        "every <animal> and <bird> {inp} came to see the <nice> {cr}.",
        '"we made it together," said {F} with <smile>, and {H} was <happy>.',
        "they put <treat> in the {cr} and [sat|sang|played] there until dark.",
    ],
)

SURPRISE = (
    [
        "<time>, it was the birthday of {F}, but nobody said a word. {F} felt <sad> <near> the <spot>.",
        "the birthday of {F} was on <weekday>. {H} had a secret plan with <number> [candles|balloons|cakes] and a {O}.",
        "{H} wanted to surprise {F}, for {fhe} would soon be <number> years old.",
    ],
    [
        "{H} baked a cake with <meal>, and {E} hung <colour> and <colour> ribbons <near> the <tree>.",
        "in secret, {H} wrapped a {O} in <colour> paper and hid it <near> the <age> <spot>.",
        "{H} asked <number> <animal>s to come {top} on <weekday> and bring <treat>.",
    ],
    [
        '"do you want to play?" asked {F}. "not now," said {H}, hiding a {O} behind {his} back. {F} went '
        "away <softly>.",
        '{F} asked about the {c} paper on {his} <garment>. "it is nothing," said {H} <quickly>.',
        '{F} waited <near> the <spot> all <daypart>. "has {H} forgotten me?" {fhe} thought.',
    ],
    [
        'then {H} took {F} by the hand and led {fhim} {top}. "close your eyes," {he} said <softly>.',
        '"come <near> the <tree>," said {H} <time_short>. "I must show you a <size_thing> <bug>."',
        'when it got dark, {H} knocked <number> times on the door of {F}. "come with me," {he} said.',
    ],
    [
        '"surprise!" shouted everyone <near> the <spot>. there were <colour> lights, <treat>, and a {O}!',
        '<number> <animal>s jumped out from <near> the <spot>. "happy birthday, {F}!" they sang <manner>.',
        "there stood {E}, <number> <animal>s and a cake as <size_thing> as a <spot>.",
    ],
    [
        '"you did not forget!" said {F} with <smile>. "I love it all!"',
        "{F} was so <happy> that {fhe} hugged {H}, {E}, and even a <trait> <animal>.",
        "they danced <manner>, ate <meal>, and played <near> the <tree>.",
    ],
)
