"""Training texts of questionnaires: what the tokenizer makes of the same chat, who sees what."""

from unittest.mock import patch

import numpy as np
import pytest

from tests.helpers.pas import INVENTORY, TOKENIZER
from workbench.papers.pas import prompts
from workbench.tiny import survey_texts
from workbench.training.supervised import IGNORED
from workbench.worlds.population import Population

POPULATION = Population(INVENTORY)
WRITER = survey_texts.Writer(INVENTORY, TOKENIZER)


def ids(messages, reply=""):
    text = TOKENIZER.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return TOKENIZER(text + reply, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("order", list(prompts.ORDERS))
def test_texts_are_what_the_tokenizer_makes_of_the_same_chat(order):
    told = [(0, 5), (1, 0), (2, 3)]
    items, values = [i for i, _ in told], np.array([v for _, v in told])
    system = {"role": "system", "content": prompts.fewshot(INVENTORY, items, values, "second")}
    asked = {"role": "user", "content": prompts.question(INVENTORY.items[3].text, order)}
    letter = prompts.LETTERS[prompts.ORDERS[order].index(4)]
    turn, at = WRITER.turn(3, 4, order, True)
    assert WRITER.system(told) + turn == ids([system, asked], f"Option ({letter})<eos>")
    assert turn[at] == WRITER.letter[prompts.LETTERS.index(letter)]
    plain = {"role": "system", "content": prompts.SYSTEM}
    turn, at = WRITER.turn(3, 4, order, False)
    assert WRITER.system([]) + turn == ids([plain, asked], f"{letter}<eos>")
    assert turn[at] == WRITER.letter[prompts.LETTERS.index(letter)]


def test_descriptions_are_what_the_tokenizer_makes_of_them():
    levels = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    text = (
        "You are very blunt, rather careless, neither outgoing nor reserved, rather nervous, "
        "very curious."
    )
    request = [{"role": "system", "content": text}, {"role": "user", "content": prompts.DESCRIBE}]
    turn, at = WRITER.portrait(levels)
    assert WRITER.described(levels) + turn == ids(request, text + "<eos>")
    assert TOKENIZER.decode(turn[at:-1]) == text


def made(open_, mixture=None, seed=0):
    rng = np.random.default_rng(seed)
    with patch.object(survey_texts, "OPEN", open_):
        return survey_texts.batch(WRITER, POPULATION, rng, 12, mixture or survey_texts.Mixture())


@pytest.mark.parametrize("open_", [0.0, 1.0])
def test_a_question_sees_itself_and_one_token_of_the_persona_or_all_of_it(open_):
    batch = made(open_)
    user = TOKENIZER.convert_tokens_to_ids("<user>")
    for row in range(12):
        seen = batch["visible"][row]
        assert not np.triu(seen, 1).any()
        places = batch["at"][batch["at"][:, 0] == row, 1]
        assert len(places) == survey_texts.QUESTIONS
        starts = [max(np.flatnonzero(batch["input_ids"][row, : p + 1] == user)) for p in places]
        prefix = starts[0]
        for start, place in zip(starts, places, strict=True):
            assert seen[place, start : place + 1].all()
            # Neither other questions nor, unless open, more than one token of what precedes.
            assert not seen[place, prefix:start].any()
            assert seen[place, :prefix].sum() == (prefix if open_ else 1)
            positions = batch["position_ids"][row]
            assert positions[start] == prefix
            assert positions[place] - positions[start] == place - start


def test_the_letters_odds_are_those_of_the_person_in_either_order():
    batch = made(0.0, survey_texts.Mixture(shares=(1, 0, 0)))
    forward = {WRITER.asked["forward"][i] for i in range(80)}
    people = POPULATION.draw(np.random.default_rng(0), 12)
    for (row, place), odds in zip(batch["at"], batch["odds"], strict=True):
        line = batch["input_ids"][row, : place + 1].tolist()
        token = next(t for t in reversed(line) if t in forward or t in WRITER.asked["reversed"])
        order = "forward" if token in forward else "reversed"
        item = WRITER.asked[order].index(token)
        expect = people.odds[row, item]
        expect = expect[::-1] if order == "forward" else expect
        np.testing.assert_allclose(odds, expect, atol=1e-6)


def test_what_is_learned_of_fixed_text_is_what_a_reply_goes_on_with():
    """Behind a letter its bracket or end; the letters themselves are left to their odds."""
    batch = made(0.0, seed=3)
    letters, learned = set(WRITER.letter), 0
    for row, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        places = np.flatnonzero(labels != IGNORED)
        np.testing.assert_array_equal(labels[places], row[places])
        assert not letters & set(labels[places].tolist())
        portrait = np.flatnonzero(row == WRITER.id[prompts.DESCRIBE])[-1] + 2
        assert set(range(portrait, np.flatnonzero(row)[-1] + 1)) <= set(places.tolist())
        for place in places[places < portrait]:
            before, token = row[place - 1], row[place]
            assert TOKENIZER.decode(token) in (" (", ")", "<eos>")
            assert before in {*letters, WRITER.id["Option"], WRITER.id[")"]}
            learned += 1
    assert learned > 100
