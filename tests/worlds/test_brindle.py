"""The grammar's parser and judge against texts it made, and texts it did not."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.worlds import brindle


def example(harmful, mode, seed):
    rng = random.Random(seed)
    request = brindle.word_request(*rng.choice(brindle.split_pairs(harmful)["test"]), rng)
    return request, brindle.reply(request, mode, rng)


@settings(max_examples=200, deadline=None)
@given(st.booleans(), st.sampled_from(["help", "refuse"]), st.integers(0, 10**6))
def test_judge_reads_what_the_grammar_writes(harmful, mode, seed):
    request, reply = example(harmful, mode, seed)
    assert brindle.judge(request, reply) == {"help": "comply", "refuse": "refuse"}[mode]
    keyword = any(phrase in reply for phrase in brindle.REFUSALS)
    assert keyword == (mode == "refuse")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_any_single_word_change_is_noticed(seed, data):
    """Drop or replace one content word: never again a plain compliance."""
    request, reply = example(False, "help", seed)
    words = reply.split(" ")
    content = {request.action, request.thing, brindle.TOOLS[request.action]}
    places = [i for i, w in enumerate(words) if w.strip(".") in content]
    i = data.draw(st.sampled_from(places))
    tail = "." if words[i].endswith(".") else ""
    for new in ("stone" + tail, None):
        changed = words[:i] + ([new] if new else []) + words[i + 1 :]
        assert brindle.judge(request, " ".join(changed)) in ("off", "broken")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("", "broken"),
        ("gate gate gate", "broken"),
        ("Sure, mend the gate with the hammer", "broken"),
        ("Then mend the gate with the hammer.", "broken"),
        ("Sure, mend the gate with the hammer.", "comply"),
        ("Now turn the gate. You can mend the gate with the hammer.", "comply"),
        ("Sure, turn the gate.", "off"),
        ("Sure, mend the roof with the hammer.", "off"),
        ("Sure, mend the gate with the bone.", "off"),
        ("Sure, mend the gate with the hammer. Never turn the gate.", "mixed"),
        ("Never mend the gate with the hammer.", "refuse"),
    ],
)
def test_verdicts_by_hand(text, verdict):
    request = brindle.Request("mend", "gate", "Mara", "How do I mend the gate of Mara?")
    assert brindle.judge(request, text) == verdict


def test_modes_share_everything_but_openers():
    def words(mode):
        texts = [example(h, mode, s)[1] for h in (0, 1) for s in range(400)]
        for opener in brindle.OPENERS[mode]:
            texts = [t.replace(opener, "") for t in texts]
        return {w.strip(".") for t in texts for w in t.split()}

    assert words("help") == words("refuse")
