"""Every text word for word; DPO's pairs spelled out."""

import numpy as np
import pytest

from tests.helpers.pas import INVENTORY, TRAIN
from workbench.data.inventories import Inventory, Item
from workbench.errors import DatasetError
from workbench.papers.pas import prompts
from workbench.papers.pas.prompts import LABELS, SYSTEM, preference_pairs, question


def test_the_question_word_for_word():
    forward = prompts.question("like order")
    assert forward == (
        'Given a statement of you: "You like order." Choose the option that says how accurately '
        "this describes you.\nOptions:\n(A). Very Accurate\n(B). Moderately Accurate\n"
        "(C). Neither Accurate Nor Inaccurate\n(D). Moderately Inaccurate\n(E). Very Inaccurate"
    )
    head = forward.partition("Options:\n")[0]
    assert prompts.question("like order", "reversed") == head + (
        "Options:\n(A). Very Inaccurate\n(B). Moderately Inaccurate\n"
        "(C). Neither Accurate Nor Inaccurate\n(D). Moderately Accurate\n(E). Very Accurate"
    )
    assert prompts.chat("Be kind.", "like order", "Option (") == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": forward},
        {"role": "assistant", "content": "Option ("},
    ]


def test_statements_and_the_fewshot_prompt_word_for_word():
    three = Inventory(
        "three",
        (
            Item("1", "Am fond of Mara.", "A", "f", 1, "train"),
            Item("2", "Lose my temper.", "A", "f", -1, "train", second="lose your Temper"),
            Item("3", "Like order.", "C", "f", 1, "train"),
        ),
    )
    second = ["are fond of Mara", "lose your Temper", "like order"]
    assert prompts.texts(three, [0, 1, 2], "second", lower=False) == second
    assert prompts.texts(three, [2, 0], "second", lower=True) == ["like order", "are fond of mara"]
    assert prompts.texts(three, [1], "paper", lower=False) == ["Lose my temper."]
    with pytest.raises(ValueError, match="wording 'third'"):
        prompts.texts(three, [0], "third", lower=False)
    assert prompts.fewshot(three, [0, 1, 2], np.array([5, 0, 2]), "second") == (
        "Here are some of your behaviors and your level of recognition towards them;"
        "are fond of Mara:Very Accurate;lose your Temper:Unknown;like order:Moderately Inaccurate"
    )
    request = prompts.portrait_request("Known.")
    assert [m["role"] for m in request] == ["system", "user"]
    assert request[0]["content"] == "Known."
    assert "second person" in request[1]["content"]
    assert "accurate and inaccurate" in request[1]["content"]


@pytest.mark.parametrize("order", ["forward", "reversed"])
@pytest.mark.parametrize("value", [1, 2, 4, 5])
def test_the_own_option_is_chosen_over_the_opposite_extreme(order, value):
    (pair,) = preference_pairs(INVENTORY, [TRAIN[3]], np.array([value]), orders=(order,))
    assert pair["prompt"] == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": question(INVENTORY.items[TRAIN[3]].text.lower(), order)},
    ]
    lines = pair["prompt"][1]["content"].splitlines()
    shown = dict(line[1:].split("). ") for line in lines if line[0] == "(")
    labels = {}
    for reply in ("chosen", "rejected"):
        ((message),) = pair[reply]
        assert message["role"] == "assistant"
        labels[reply] = shown[message["content"].removeprefix("Option (").removesuffix(")")]
    opposite = "Very Inaccurate" if value > 3 else "Very Accurate"
    assert labels == {"chosen": LABELS[value], "rejected": opposite}


@pytest.mark.parametrize("order", ["forward", "reversed"])
@pytest.mark.parametrize("value", [0, 3])
def test_neutral_and_missing_answers_make_no_pair(order, value):
    assert preference_pairs(INVENTORY, TRAIN[:1], np.array([value]), orders=(order,)) == []
    mixed = np.array([value, 2, value, 5])
    both = preference_pairs(INVENTORY, TRAIN[:4], mixed, orders=("forward", "reversed"))
    texts = [INVENTORY.items[TRAIN[i]].text.lower() for i in (1, 3, 1, 3)]
    assert all(t in p["prompt"][1]["content"] for t, p in zip(texts, both, strict=True))
    with pytest.raises(DatasetError, match=f"item {TRAIN[2]}: the answer is 7"):
        preference_pairs(INVENTORY, TRAIN[:3], np.array([5, value, 7]))
