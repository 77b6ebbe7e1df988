"""The program reader beside the world that wrote the sentences."""

import pytest

from workbench.papers.graphhop.readers import answered, parsed, right
from workbench.worlds.facts import World
from workbench.worlds.names import SPLITS
from workbench.worlds.pools import questions


@pytest.mark.parametrize("split", SPLITS)
def test_every_sentence_is_read_as_it_was_written(split):
    for size in (1, 6):
        for fact in World(split, 3, size).facts:
            assert parsed(fact.text) == (fact.relation, fact.head, fact.tail)


@pytest.mark.parametrize("text", ["", "Ann was born.", "ann bo was born in Dorla.", "Ann has x."])
def test_other_sentences_say_nothing(text):
    assert parsed(text) is None


def test_gold_facts_suffice_and_nothing_less_does_alone():
    for question in questions("dev", 240):
        assert right(question, question.nodes) == 1
        assert right(question, range(len(question.facts))) == 1
        assert right(question, []) == 0
        if question.program[-1]["function"] not in ("VerifyStr", "SelectAmong"):
            assert all(
                right(question, [n for n in question.nodes if n != left_out]) == 0
                for left_out in question.nodes
            )


def test_an_unknown_function_is_named():
    with pytest.raises(ValueError, match="'Sing'"):
        answered([{"function": "Sing", "inputs": [], "dependencies": []}], [])
    assert answered([], ["x"]) == ""
