"""Pens and coins: every story is read and answered again from its text alone."""

import random
import re
from collections import Counter

import pytest

from workbench.worlds import pens


@pytest.mark.parametrize("digits", [1, 2, 4, 20])
def test_pens_hold_two_numbers_and_what_becomes_of_them(digits):
    rng, kinds = random.Random(0), Counter()
    for _ in range(200):
        story = pens.pens(rng, digits)
        a, b = re.findall(r"\d+", story.text)
        assert (len(a), len(b)) == (digits, digits)
        sign = "+" if "more" in story.text else "-"
        kinds[sign] += 1
        assert story.read == f"{a}{sign}{b}"
        assert story.answer == str(int(a) + int(b) if sign == "+" else int(a) - int(b))
        assert int(story.answer) >= 0
        assert story.text.endswith("How many? ")
    assert min(kinds.values()) > 60


@pytest.mark.parametrize("flips", [1, 3, 12])
def test_coins_are_flipped_or_not(flips):
    rng = random.Random(0)
    for _ in range(50):
        story = pens.coins(rng, flips)
        sentences = re.findall(r"\w+ (flips|does not flip) the coin\.", story.text)
        bits = [str(int(does == "flips")) for does in sentences]
        assert len(bits) == flips
        assert story.read == "".join(f" {bit}" for bit in bits)
        assert story.answer == str(bits.count("1") % 2)


def test_what_is_taught():
    stories = pens.coin_stories(0)
    assert stories == pens.coin_stories(0) != pens.coin_stories(1)
    people = Counter(story.text.count("coin") for story in stories)
    assert people == dict.fromkeys(pens.FLIPS, pens.COIN_STORIES // 3)
    prompt, reply = pens.taught_coins(random.Random(1), stories)
    assert any((s.text, f"{s.read} -> {s.answer}") == (prompt, reply) for s in stories)
    prompt, reply = pens.taught_pens(random.Random(1))
    read, answer = re.fullmatch(r"(\d+[+-]\d+)=(\d+)\.", reply).groups()
    assert all(number in prompt for number in re.findall(r"\d+", read))
    assert answer == str(eval(read))
