"""Prompts of every stage: parting, order, chat turns, wording of the questions."""

import re

import pytest

from tests.helpers.solvers import PENS
from workbench.errors import ContextLengthError, DatasetError
from workbench.papers.self_verification import prompts
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.verify import self_verify


def test_text_prompts_part_exemplars_by_blank_lines_and_end_without_a_space():
    for direction in ("forward", "cmv", "tfv", "yesno"):
        shown = prompts.exemplars("gsm8k", direction)
        text = prompts.question_prompt("How many?", shown, False)
        assert text.endswith("\n\nQ: How many?\nA:")
        assert text.startswith("Q: ")
        blocks = text.split("\n\n")
        assert len(blocks) == len(shown) + 1
        for block in blocks[:-1]:
            assert re.fullmatch(r"Q: [^\n]+\nA: [^\n]+ The answer is [^\n]+\.", block)
    assert prompts.question_prompt("How many?", [], False) == "Q: How many?\nA:"
    assert prompts.rewrite_prompt("How many?", "7", False) == (
        "Q: Please change the questions and answers into a complete declarative sentences. "
        "How many? The answer is 7.\nA:"
    )
    asks = {
        "cmv": "What is the answer of 'X'?",
        "tfv": "Do it is correct (True or False)?",
        "yesno": "Judge whether this statement is normal (yes or no)?",
    }
    for kind, end in asks.items():
        assert (
            prompts.verification_question("He has 'X'.", "So 7.", kind)
            == f"\"He has 'X'. So 7.\" {end}"
        )
        assert prompts.verification_question("", "So 7.", kind) == f'"So 7." {end}'


@pytest.mark.parametrize("dataset", sorted(prompts.TASKS))
@pytest.mark.parametrize("direction", ["forward", "cmv", "tfv", "yesno"])
def test_exemplars_come_in_one_order_per_seed(dataset, direction):
    shown = prompts.exemplars(dataset, direction, seed=3)
    assert shown
    assert shown == prompts.exemplars(dataset, direction, seed=3)
    orders = [prompts.exemplars(dataset, direction, seed=s) for s in range(12)]
    assert all(sorted(order) == sorted(shown) for order in orders)
    assert len({tuple(order) for order in orders}) > 3
    assert prompts.exemplars(dataset, direction, seed=3, shots=2) == shown[:2]
    assert prompts.exemplars(dataset, direction, seed=3, shots=99) == shown
    assert prompts.exemplars("sums", direction) == []


@pytest.mark.parametrize("dataset", sorted(prompts.TASKS))
def test_chat_turns_alternate_and_end_with_the_user(dataset):
    for direction in ("forward", prompts.verification_kind(dataset)):
        shown = prompts.exemplars(dataset, direction)
        turns = prompts.question_prompt("Why?", shown, True)
        assert [t["role"] for t in turns] == ["user", "assistant"] * len(shown) + ["user"]
        assert turns[-1]["content"] == "Why?"
        assert [t["content"] for t in turns[:-1]] == [part for pair in shown for part in pair]
        assert all(t["content"] for t in turns)


def test_equations_in_code_tags():
    for dataset in ("gsm8k", "aqua", "bigbench_date"):
        paper = prompts.exemplars(dataset, "cmv")
        code = prompts.exemplars(dataset, "cmv", equations="code")
        for (q, row), (same_q, tagged) in zip(paper, code, strict=True):
            assert q == same_q
            said, rest = tagged.split("\n<code>\n")
            lines, answer = rest.split("\n</code>\n")
            assert "\n\n" not in tagged  # which would stop the reply
            assert all(line.count("=") == 1 for line in lines.split("\n"))
            assert lines.split("\n")[-1].startswith("X = ")
            equations = ", ".join(lines.split("\n"))
            assert f"{said} {equations}. {answer.strip()}" == row
    assert prompts.exemplars("gsm8k", "forward", equations="code") == (
        prompts.exemplars("gsm8k", "forward")
    )


def test_the_kind_of_verification_follows_the_dataset():
    kinds = {name: prompts.verification_kind(name) for name in [*prompts.TASKS, "sums"]}
    numbers = "gsm8k svamp addsub singleeq multiarith aqua bigbench_date sums".split()
    assert {n for n, kind in kinds.items() if kind == "cmv"} == set(numbers)
    assert [n for n, kind in kinds.items() if kind == "yesno"] == ["commonsensqa"]


def test_a_prompt_too_long_says_how_many_exemplars_would_fit(tiny):
    """The embedded chat model's context holds 512 tokens, eight exemplars take more."""
    with pytest.raises(ContextLengthError, match=r"the 512 .* Of 8 exemplars about \d") as info:
        self_verify(tiny, [PENS], Settings())
    fit = int(re.search(r"about (\d) would fit", str(info.value))[1])
    assert len(self_verify(tiny, [PENS], Settings(shots=fit, k=1, max_new_tokens=8))) == 1


ITEM = "- {q: a, rationale: b, answer: c}\n"
EXEMPLARS = {
    "empty": "",
    "a list": ITEM,
    "no items": "items: []",
    "items of text": "items: abc",
    "an item of text": "items:\n- abc",
    "a number for text": "items:\n- {q: a, rationale: b, answer: 5}",
    "a tab": "items:\n\t- q: a",
    "not ended": "items: [",
    "deep": "items: " + "[" * 10**5,
    "deep and closed": "items: " + "[" * 3000 + "]" * 3000,
    "too long": "items:\n" + ITEM * 40_000,
    "digits": "items: [" + "9" * 10**5 + "]",
    "no date": "items: [2020-99-99]",
    "a call": "items: !!python/object/apply:os.system ['exit 1']",
    "an object": "items: !!python/object:os.system {}",
    "a name": "items: !!python/name:os.system",
    "an alias": "a: &a [x]\nitems: [*a]",
    "many laughs": "a: &a {x: 1}\n" + "".join(
        f"b{i}: &b{i} {{<<: [{', '.join([f'*b{i - 1}' if i else '*a'] * 9)}]}}\n" for i in range(9)
    ),
    "a name twice": "items:\n- {q: a, rationale: b, answer: c, answer: d}",
    "two documents": "items: []\n---\nitems: []",
    "a list as a name": "items: {[a]: b}",
    "not UTF-8": b"items: \xff",
    "a NUL": "items: a\0b",
}  # fmt: skip


@pytest.mark.parametrize("content", EXEMPLARS.values(), ids=EXEMPLARS)
def test_exemplar_files_that_cannot_be_believed(tmp_path, monkeypatch, content):
    path = tmp_path / "math_forward.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr(prompts, "FOLDER", tmp_path)
    with pytest.raises(DatasetError, match=str(path)):
        prompts.exemplars("gsm8k", "forward")
