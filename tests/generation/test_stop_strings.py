"""Stop strings against a full decode of every row at every step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.generation.stop_strings import StopWatch, cut

letters = st.text(alphabet="ab \n#é", max_size=12)
stop_sets = st.lists(st.text(alphabet="ab \n#é", min_size=1, max_size=3), max_size=3).map(tuple)


def obvious(text, stops):
    """The text before the first place, behind leading white space, where any stop begins."""
    first = 0
    while first < len(text) and text[first].isspace():
        first += 1
    for at in range(first, len(text)):
        if any(text[at:].startswith(stop) for stop in stops):
            return text[:at]
    return None


@settings(max_examples=500, deadline=None)
@given(letters, stop_sets)
def test_cut_is_the_obvious_loop(text, stops):
    assert cut(text, stops) == obvious(text, stops)


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("\nyes\nno", ("\n",), "\nyes"),
        ("\n\n", ("\n",), None),
        ("yes", ("\n",), None),
        ("yes\n\nQ: no", ("Q:", "\n\n"), "yes"),
        ("a###", ("###", "##"), "a"),
        ("###", ("###",), ""),
        ("  ###", ("###",), "  "),
        ("anything", (), None),
    ],
)
def test_cut_by_example(text, stops, expected):
    assert cut(text, stops) == expected


PIECES = [
    "\n", "\n\n", " the gate", "the", " Q:", "Q: ", ":", " ", "###", "##", "#", "🙂", "🙂🙂", "é",
    "日本", "mend it.", "No", "\t", "  ", "<eos>", "<assistant>", "a\nb", "hammer",
]  # fmt: skip
STOPS = [
    ("\n",), ("\n\n",), ("###",), ("the gate",), (" Q:",), ("Q: ",), ("\n", "."), ("it.",), ("é",),
    ("🙂",), ("🙂🙂🙂🙂🙂🙂",), ("日本", "🙂a"), (" ",), ("ate", "mm"), ("\t",), ("e\n",),
    ("本\n",),
]  # fmt: skip


def watched(tokenizer, stops, rows):
    """Feed rows a token a step as a decoder does; (row, tokens so far) where each was stopped."""
    watch = StopWatch(tokenizer, stops)
    so_far, running, ended = [[] for _ in rows], list(range(len(rows))), {}
    for step in range(max(map(len, rows))):
        running = [i for i in running if step < len(rows[i])]
        for i in running:
            so_far[i].append(rows[i][step])
        if not running:
            break
        last = torch.tensor([so_far[i][-1] for i in running])
        for place in watch.check(last, [so_far[i] for i in running]):
            ended[running[place]] = step + 1
        running = [i for i in running if i not in ended]
    return ended


def expected_ends(tokenizer, stops, rows):
    """The first length at which the decoded row holds a stop: every length of every row tried."""
    ends = {}
    for i, row in enumerate(rows):
        for length in range(1, len(row) + 1):
            text = tokenizer.decode(row[:length], skip_special_tokens=True)
            if obvious(text, stops) is not None:
                ends[i] = length
                break
    return ends


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map("".join),
        min_size=1, max_size=4,
    ),
    stops=st.sampled_from(STOPS),
    whole=st.booleans(),
)  # fmt: skip
def test_rows_stop_at_the_very_token(tokenizer, texts, stops, whole):
    """`whole` words as the tokenizer writes them, or one token a byte: stops span many tokens."""
    if whole:
        rows = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    else:
        rows = [[tokenizer(c, add_special_tokens=False)["input_ids"] for c in t] for t in texts]
        rows = [[i for char in row for i in char] for row in rows]
    assert watched(tokenizer, stops, rows) == expected_ends(tokenizer, stops, rows)


@pytest.mark.parametrize("stops", STOPS)
def test_every_stop_is_seen_wherever_it_begins(tokenizer, stops):
    rows = []
    for stop in stops:
        for before in ("mend", "mend ", "mend it", "Q", "🙂", "\n", "x" * 40):
            for after in ("", "s", " the", "🙂"):
                text = before + stop + after
                rows.append(tokenizer(text, add_special_tokens=False)["input_ids"])
    ends = watched(tokenizer, stops, rows)
    assert ends == expected_ends(tokenizer, stops, rows)
    assert len(ends) > len(rows) // 2


@settings(max_examples=100, deadline=None)
@given(data=st.data(), stops=st.sampled_from(STOPS))
def test_any_tokens_at_all(tokenizer, data, stops):
    ids = st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=20)
    rows = data.draw(st.lists(ids, min_size=1, max_size=4))
    assert watched(tokenizer, stops, rows) == expected_ends(tokenizer, stops, rows)


def test_a_stop_of_many_bytes_may_span_more_tokens_than_it_has_characters(tokenizer):
    stop = "🙂" * 12
    row = tokenizer(f"mend {stop} it", add_special_tokens=False)["input_ids"]
    assert len(tokenizer(stop, add_special_tokens=False)["input_ids"]) > len(stop) + 8
    assert watched(tokenizer, (stop,), [row]) == expected_ends(tokenizer, (stop,), [row]) != {}


def test_special_tokens_in_the_middle_of_a_stop_do_not_hide_it(tokenizer):
    ids = tokenizer("#", add_special_tokens=False)["input_ids"]
    row = ids + [tokenizer.bos_token_id] * 5 + ids
    assert watched(tokenizer, ("##",), [row]) == {0: 7}


def test_tokens_that_the_tokenizer_does_not_know(tokenizer):
    """Embeddings are often padded beyond the vocabulary, and such a token can be sampled."""
    newline = tokenizer("x\n", add_special_tokens=False)["input_ids"]
    rows = [[*newline[:1], len(tokenizer) + 40, *newline[1:]], [len(tokenizer), 30]]
    assert watched(tokenizer, ("\n",), rows) == {0: 3}


def test_no_stops_stop_nothing(tokenizer):
    assert watched(tokenizer, (), [[5, 6, 7]]) == {}
