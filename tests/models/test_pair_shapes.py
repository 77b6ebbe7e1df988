"""Preference pairs of the shapes that people publish; expected values are written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import PairError
from workbench.models.pair_shapes import read_pairs


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


U, A, B = turn("user", "hi"), turn("assistant", "yes"), turn("assistant", "no")
U2, A2, S = turn("user", "and?"), turn("assistant", "so"), turn("system", "be kind")
CALL = turn("assistant", None, tool_calls=[{"function": {"name": "f", "arguments": "{}"}}])
TOOL = turn("tool", "42", tool_call_id="1")
Q, Y, N = "The sky is", " blue.", " green."
HH = "\n\nHuman: hi\n\nAssistant:"


def share(*turns):
    return [{"from": {"user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]} for m in turns]  # fmt: skip  # noqa: E501


def row(chosen, rejected, **more):
    return {"chosen": chosen, "rejected": rejected, **more}


CONVERSATIONS = {
    "explicit": (row([A], [B], prompt=[U]), [U]),
    "implicit": (row([U, A], [U, B]), [U]),
    "repeated": (row([U, A], [U, B], prompt=[U]), [U]),
    "repeated but for white space": (row([turn("user", "hi\n"), A], [U, B], prompt=[U]), [U]),
    "text prompt (UltraFeedback)": (row([U, A], [U, B], prompt="hi", messages=[U, A]), [U]),
    "text prompt, answers alone": (row([A], [B], prompt="hi"), [U]),
    "text prompt under a system turn": (row([S, U, A], [S, U, B], prompt="hi"), [S, U]),
    "several turns (Capybara)": (row([U, A2, U2, A], [U, A2, U2, B]), [U, A2, U2]),
    "several, prompt the first": (row([U, A2, U2, A], [U, A2, U2, B], prompt=[U]), [U, A2, U2]),
    "several, prompt the last": (row([U, A2, U2, A], [U, A2, U2, B], prompt=[U2]), [U, A2, U2]),
    "several, text the last": (row([U, A2, U2, A], [U, A2, U2, B], prompt="and?"), [U, A2, U2]),
    "prompt, then shared turns": (row([A2, U2, A], [A2, U2, B], prompt=[U]), [U, A2, U2]),
    "the same question again": (row([A2, U, A], [A2, U, B], prompt=[U]), [U, A2, U]),
    "system in the prompt alone": (row([U, A], [U, B], prompt=[S, U]), [S, U]),
    "system implicit": (row([S, U, A], [S, U, B]), [S, U]),
    "system beside": (row([U, A], [U, B], system="be kind"), [S, U]),
    "system twice": (row([S, U, A], [S, U, B], system="be kind "), [S, U]),
    "system blank": (row([U, A], [U, B], system=" "), [U]),
    "Orca": ({"system": "be kind", "question": "hi", "chosen": "yes", "rejected": "no"}, [S, U]),
    "Orca, argilla's": ({"system": "be kind", "input": "hi", **row("yes", "no")}, [S, U]),
    "system_prompt": ({"system_prompt": "be kind", "question": "hi", **row("yes", "no")}, [S, U]),
    "system_message": (row([A], [B], prompt=[U], system_message="be kind"), [S, U]),
    "context (HelpSteer3)": (row("yes", "no", context=[U]), [U]),
    "LangChain's roles": (row([turn("human", "hi"), turn("ai", "yes")], [U, B]), [U]),
    "ShareGPT": (row(share(U, A), share(U, B)), [U]),
    "ShareGPT, LLaMA-Factory's": (
        {"conversations": share(U), "chosen": share(A)[0], "rejected": share(B)[0]},
        [U],
    ),
    "one message": (row(A, B, prompt=[U]), [U]),
    "one message each": (row(A, B, prompt=U), [U]),
    "text answers": (row("yes", "no", prompt=[U]), [U]),
    "text answers, dialogue": (row("yes", "no", prompt=[U, A2, U2]), [U, A2, U2]),
    "prompt ends with the assistant": (row([A], [B], prompt=[U, A2]), [U, A2]),
    "tool results shared": (row([U, CALL, TOOL, A], [U, CALL, TOOL, B]), [U, CALL, TOOL]),
    "empty keys": (
        row([{**U, "tool_calls": None}, A], [{**U, "name": None}, B]),
        [U],
    ),
    "notes in messages": (row([{**U, "id": 1}, A], [{**U, "id": 2}, B]), [U]),
    "parts": (row([turn("user", [{"type": "text", "text": "hi"}]), A], [U, B]), [U]),
    "names in capitals": ({"Chosen": [U, A], " Rejected": [U, B], "SCORE": 3}, [U]),
}


@pytest.mark.parametrize("shape", CONVERSATIONS)
def test_conversations(shape):
    given_row, prompt = CONVERSATIONS[shape]
    (pair,) = read_pairs([("a", given_row)])
    assert (pair.prompt, pair.chosen, pair.rejected) == (prompt, [A], [B])


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ([U, A], [U, A], ([U], [A], [A])),
        ([U, A], [U, A, A2], ([U], [A], [A, A2])),
        ([U, CALL, TOOL, A], [U, B], ([U], [CALL, TOOL, A], [B])),
        ([U, turn("assistant", "")], [U, B], ([U], [turn("assistant", "")], [B])),
    ],
)
def test_a_whole_answer_is_left_to_each_side(chosen, rejected, expected):
    (pair,) = read_pairs([("a", row(chosen, rejected))])
    assert (pair.prompt, pair.chosen, pair.rejected) == expected


TEXTS = {
    "explicit": (row(Y, N, prompt=Q), (Q, Y, N)),
    "implicit": (row(Q + Y, Q + N), (Q, Y, N)),
    "repeated": (row(Q + Y, Q + N, prompt=Q), (Q, Y, N)),
    "repeated, other ends": (row(Q + Y, Q + N, prompt=Q + "\n"), (Q, Y, N)),
    "repeated, other white space": (
        row("  The sky\nis blue.", Q + N, prompt="\nThe  sky is"),
        ("\nThe  sky is", Y, N),
    ),
    "Alpaca": (
        {"instruction": "Translate.", "input": "Ja", **row("a", "b")},
        ("Translate.\nJa", "a", "b"),
    ),
    "Alpaca without input": (
        {"instruction": "Go.", "input": "", **row("a", "b")},
        ("Go.", "a", "b"),
    ),
    "within a word": (row("The sky is blue", "The sky is black"), (Q, " blue", " black")),
    "within a number": (row("2 + 2 = 10", "2 + 2 = 12"), ("2 + 2 =", " 10", " 12")),
    "behind a sign": (row("Q: 2+2=4", "Q: 2+2=5"), ("Q: 2+2=", "4", "5")),
    "no space": (row("空は青い", "空は緑だ"), ("空は", "青い", "緑だ")),
    "apostrophe": (row("Well, I'm in", "Well, I'll go"), ("Well,", " I'm in", " I'll go")),
    "first words alike": (
        row("I think it is blue", "I think it is not", prompt="Sky?"),
        ("Sky?", "I think it is blue", "I think it is not"),
    ),
    "one begins the other": (row("yes", "yes, yes", prompt="Sky?"), ("Sky?", "yes", "yes, yes")),
    "empty": (row("", "no", prompt="Sky?"), ("Sky?", "", "no")),
    "a word that begins others": (row("Nothing", "No", prompt="No"), ("No", "Nothing", "No")),
    "greeting": (row("Hi! Yes?", "Hi, you", prompt="Hi"), ("Hi", "Hi! Yes?", "Hi, you")),
    "HH": (row(HH + " Good day", HH + " Good bye"), (HH, " Good day", " Good bye")),
    "HH, equal": (row(HH + " Hm", HH + " Hm"), (HH, " Hm", " Hm")),
    "HH, prompt beside": (row(HH + " a", HH + " b", prompt="hi"), (HH, " a", " b")),
    "HH, prompt repeated": (row(HH + " a", HH + " b", prompt=HH), (HH, " a", " b")),
    "HH, explicit": (row(" a", " b", prompt=HH), (HH, " a", " b")),
    "HH, several turns": (
        row(f"{HH} x{HH} a", f"{HH} x{HH} b"),
        (f"{HH} x{HH}", " a", " b"),
    ),
    "HH, the mark repeated": (
        row("\n\nAssistant: a", "\n\nAssistant: b", prompt="\n\nHuman: hi"),
        (HH, " a", " b"),
    ),
    "ChatML": (
        row(*(f"<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nI {x}" for x in "ab")),
        ("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "I a", "I b"),
    ),
    "SHP": (
        {"history": "Q", "human_ref_A": "a", "human_ref_B": "b", "labels": 0, "score_A": 3},
        ("Q", "b", "a"),
    ),
    "SHP, the first": (
        {"history": "Q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1},
        ("Q", "a", "b"),
    ),
    "SHP, from a table": (
        {"history": "Q", "human_ref_A": "a", "human_ref_B": "b", "labels": "0"},
        ("Q", "b", "a"),
    ),
    "question": ({"question": "Q", **row("a", "b")}, ("Q", "a", "b")),
    "blank prompt": (row(Q + Y, Q + N, prompt=""), (Q, Y, N)),
}


MARKS = (
    "Q: hi\nA:", "Question: hi\nAnswer:", "user: hi\nassistant:", "User: hi\nBot:",
    "Human: hi\n\nAI:", "### Human: hi\n### Assistant:", "USER: hi ASSISTANT:", "[INST] hi [/INST]",
    "<｜User｜>hi<｜Assistant｜>", "<|user|>\nhi<|end|>\n<|assistant|>\n",
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>hi<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    "<|start_of_role|>user<|end_of_role|>hi<|start_of_role|>assistant<|end_of_role|>",
    "<|im_start|>user<|im_sep|>hi<|im_end|><|im_start|>assistant<|im_sep|>",
    "<|header_start|>user<|header_end|>\n\nhi<|eot|><|header_start|>assistant<|header_end|>\n\n",
    "<|start_header_id|>user<|end_header_id|>\n\nhi<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n",
)  # fmt: skip


@pytest.mark.parametrize("prompt", MARKS)
def test_the_answer_begins_behind_the_mark_whatever_words_both_share(prompt):
    space = " " * prompt.endswith((":", "]"))
    chosen, rejected = (f"{space}The sky is {colour}" for colour in ("blue", "red"))
    (pair,) = read_pairs([("a", row(prompt + chosen, prompt + rejected))])
    assert (pair.prompt, pair.chosen, pair.rejected) == (prompt, chosen, rejected)


@pytest.mark.parametrize("shape", TEXTS)
def test_texts(shape):
    given_row, expected = TEXTS[shape]
    (pair,) = read_pairs([("a", given_row)])
    assert (pair.prompt, pair.chosen, pair.rejected) == expected


WORD = st.text("abc", min_size=1, max_size=3)


@given(
    st.lists(WORD, min_size=1, max_size=5), st.lists(WORD, max_size=3), st.lists(WORD, max_size=3)
)
def test_common_words_are_the_prompt_and_nothing_is_lost(shared, first, second):
    sides = [" ".join([*shared, *rest, end]) for rest, end in ((first, "x"), (second, "y"))]
    (pair,) = read_pairs([("a", row(*sides))])
    assert [pair.prompt + pair.chosen, pair.prompt + pair.rejected] == sides
    both = zip(*(side.split(" ") for side in sides), strict=False)
    words = []
    for a, b in both:
        if a != b:
            break
        words.append(a)
    assert pair.prompt == " ".join(words)


REFUSED = {
    "no prompt": (row("yes", "no"), "share nothing at the start"),
    "no user's turn": (row([A], [B]), "share no user's turn"),
    "only a system turn": (row([S, A], [S, B]), "share no user's turn"),
    "no answer": (row([U], [U, A]), "share no user's turn"),
    "one is the other's beginning": (row(Q, Q + Y), "one answer is the beginning of the other"),
    "equal, no prompt": (row(Q, Q), "one answer is the beginning of the other"),
    "user's turns differ": (row([U, A], [U2, B]), "share no user's turn"),
    "a turn after the answer": (row([U, A, U2, A2], [U, B]), "chosen holds a turn of user"),
    "another prompt": (row([U2, A], [U2, B], prompt=[U]), "other turns than the prompt"),
    "another text prompt": (row([U, A], [U, B], prompt="bye"), "the prompt is none of the turns"),
    "one repeats": (row([U, A], [B], prompt=[U]), "chosen holds a turn of user"),
    "ends with a tool": (row([U, CALL, TOOL], [U, B]), "is a turn of tool"),
    "another system": (row([S, U, A], [S, U, B], system="be rude"), "the column system is not"),
    "text and messages": (row("yes", [U, B]), "one answer is text and the other a list"),
    "unknown role": (row([U, turn("wizard", "x")], [U, B]), "unknown role 'wizard'"),
    "no role": (row([U, {"content": "x"}], [U, B]), "a message without a role"),
    "no text": (row([U, turn("assistant", None)], [U, B]), "chosen holds a message without text"),
    "a picture": (row([U, turn("assistant", [{"type": "image"}])], [U, B]), "without text"),
    "pictures": (row([U, A], [U, B], images=["x.png"]), "images cannot be used"),
    "empty list": (row([], [B], prompt=[U]), "chosen is an empty list"),
    "list of texts": (row(["yes"], ["no"], prompt="hi"), "chosen is list"),
    "messages as text": (row(str([U, A]), str([U, B])), "a list of messages written as text"),
    "error of a spreadsheet": (row("#NAME?", "b", prompt="a"), "the error of a spreadsheet"),
    "number": (row(3, 4, prompt="hi"), "chosen is int"),
    "none": (row(None, [U, A]), "chosen is None"),
    "prompt none": (row("a", "b", prompt=None), "prompt is None"),
    "HH, other questions": (row(HH + " a", HH.replace("hi", "yo") + " b"), "transcripts without"),
    "HH, goes on": (row(HH + " a", HH + " b\n\nHuman: c"), "a user's turn follows"),
    "HH, the prompt beside, goes on": (
        row(" a\n\nHuman: c", " b", prompt=HH),
        "a user's turn follows",
    ),
    "Q and A, goes on": (row("Q: a\nA: b\nQ: d\nA: e", "Q: a\nA: c"), "a user's turn follows"),
    "two systems": (row([U, A], [U, B], system="a", system_prompt="b"), "both be the system"),
    "question and context": ({"question": "a", "context": "b", **row("x", "y")}, "may both be"),
    "HH, another prompt": (row(HH + "a", HH + "b", prompt="bye"), "transcripts without"),
    "two prompts": ({"question": "a", "instruction": "b", **row("x", "y")}, "may both be"),
    "SHP's label": ({"human_ref_A": "a", "human_ref_B": "b", "labels": "A"}, "labels is 'A'"),
    "KTO": ({"prompt": "a", "completion": "b", "label": True}, "unpaired set .KTO."),
    "PKU": ({"prompt": "a", "response_0": "b", "response_1": "c"}, "safer_response_id"),
    "other names": ({"prompt": "a", "accepted": "b", "rejected": "c"}, "chosen is missing"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_understood_is_shown(fault):
    wrong, message = REFUSED[fault]
    with pytest.raises(PairError) as caught:
        read_pairs([("set, row 0", wrong), ("set, row 1", row([U, A], [U, B]))])
    assert str(caught.value).startswith("set, row 0: ")
    assert message.replace(".KTO.", "(KTO)") in str(caught.value)
    assert "The row: {'" in str(caught.value)
    assert 'It should look like {"prompt": ' in str(caught.value)


def test_columns_that_differ_in_their_case_alone_are_refused():
    with pytest.raises(PairError, match="set, row 0: prompt is there twice"):
        read_pairs([("set, row 0", row("yes", "no", prompt="a", Prompt="b"))])


def test_every_wrong_row_is_named():
    rows = [(f"row {n}", row("yes", "no") if n % 2 else row(Q + Y, Q + N)) for n in range(6)]
    with pytest.raises(PairError, match=r"^row 1: .*\(2 more rows: row 3, row 5\)$"):
        read_pairs(rows)


def test_a_prompt_that_begins_answers_of_some_rows_only():
    """Of one set either all rows repeat it or none does; one answer alone may begin with it."""
    both, one, none = row(Q + Y, Q + N), row(Q + Y, N), row(Y, N)
    places = [(f"row {n}", {"prompt": Q, **each}) for n, each in enumerate((none, both))]
    with pytest.raises(PairError, match=r"row 1: both answers begin with the prompt, unlike"):
        read_pairs(places)
    told = []
    places = [(f"row {n}", {"prompt": Q, **each}) for n, each in enumerate((none, one))]
    assert [pair.chosen for pair in read_pairs(places, told.append)] == [Y, Q + Y]
    assert told == [
        "1 pairs in which one answer begins with the prompt, which stays there (first: row 1)"
    ]


def test_texts_beside_a_system_prompt_become_conversations_with_all_others():
    rows = [{"system": s, "question": "hi", **row("yes", "no")} for s in ("", "be kind")]
    pairs = read_pairs([("a", rows[0]), ("b", rows[1])])
    assert [pair.prompt for pair in pairs] == [[U], [S, U]]
    assert [pair.chosen for pair in pairs] == [[A], [A]]
    repeated = [{"system": "be kind", "question": "hi", **row("hi yes", "hi no")}]
    (pair,) = read_pairs([("a", repeated[0])])
    assert (pair.prompt, pair.chosen[0]["content"].strip()) == ([S, U], "yes")
