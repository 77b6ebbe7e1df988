"""The chain stepper: it shows what the stepper says, takes hops by hand, probes a reader."""

import math
import re
import threading

import numpy as np
import pytest

import workbench as wb
from workbench.retrieval.steps import STOP, Step, follow
from workbench.widgets.chain_steps import marked, rarities, rests_on

FACTS = [f"fact {name} <b>" for name in "abcdefghijklm"]
ODDS = {(): {4: 0.8, 1: 0.5}, (4,): {1: 0.7, 2: 0.6}, (4, 1): {7: 0.9}, (4, 2): {3: 0.6},
        (4, 1, 7): {0: 0.2}}  # fmt: skip


def stepper(question, facts, read):
    step = np.full(len(facts), 0.01)
    for v, p in ODDS.get(tuple(read), {}).items():
        step[v % len(facts)] = p
    step[[*read]] = 0
    return Step(step, 1 - step.max())


@pytest.fixture
def ui():
    view = wb.ui.chain_steps("Who <is> it?", FACTS, stepper)
    view.read()
    view.wait()
    yield view
    view.close()


def rows(view):
    """(place, probability as shown) of the candidates in order, and which of them is chosen."""
    shown = re.findall(
        r'data-node="(-?\d+)".*?aria-pressed="(\w+)".*?</span>([\d.]+)<', view.rows.svg
    )
    return [(int(v), p) for v, _, p in shown], [int(v) for v, on, _ in shown if on == "true"]


def test_each_step_shows_its_ten_best_and_its_end(ui):
    assert ui.chain.facts == (4, 1, 7)
    assert "4→1→7" in ui.whole.value
    assert ui.step.max == 3
    candidates, chosen = rows(ui)
    assert candidates[:3] == [(4, "0.80"), (1, "0.50"), (-1, "0.20")]
    assert [v for v, _ in candidates[3:]] == [0, 2, 3, 5, 6, 7, 8, 9]
    assert chosen == [4]
    ui.step.value = 1
    assert rows(ui)[0][:3] == [(1, "0.70"), (2, "0.60"), (-1, "0.30")]
    assert 4 not in dict(rows(ui)[0])
    ui.step.value = 3
    assert rows(ui)[1] == [STOP]
    assert ui.explanation.chain == (4, 1, 7)
    assert ui.explanation.stop == pytest.approx(0.8)
    assert ui.explanation.answer == FACTS[7]
    assert "**Chain** 4→1→7 (ends there: 0.80)" in ui.explanation.markdown()


def test_a_hop_by_hand_changes_the_rest(ui):
    ui.override(1, 2)
    ui.wait()
    assert (ui.chain.facts, ui.forced) == ((4, 2, 3), {0: 4, 1: 2})
    assert ui.chain == follow(stepper, "q", FACTS, forced={0: 4, 1: 2})[0]
    assert ui.whole.value.count("by hand") == 2
    ui.step.value = 1
    ui.rows.selected = 1  # a click
    ui.wait()
    assert (ui.chain.facts, ui.rows.selected) == ((4, 1, 7), -2)
    ui.rows.selected = 12
    ui.wait()
    assert ui.chain.facts == (4, 12)
    assert rows(ui)[1] == [12]
    ui.rows.selected = STOP
    ui.wait()
    assert (ui.chain.facts, ui.step.max, ui.forced) == ((4,), 1, {0: 4, 1: STOP})
    assert not ui.undo.disabled
    ui.undo.click()
    ui.wait()
    assert (ui.chain.facts, ui.forced) == ((4, 1, 7), {0: 4})
    assert ui.undo.disabled  # by hand is the step before alone
    ui.step.value = 2
    ui.rows.selected = 7  # which is read there: it stays
    ui.wait()
    assert (ui.chain.facts, ui.forced) == ((4, 1, 7), {0: 4, 1: 1, 2: 7})
    ui.override(3, 12)  # beyond its end
    ui.wait()
    assert ui.chain.facts[:4] == (4, 1, 7, 12)


def test_steps_are_asked_for_once():
    asked = []
    view = wb.ui.chain_steps("q", FACTS, lambda *of: asked.append(tuple(of[2])) or stepper(*of))
    view.read()
    view.wait()
    view.override(1, 2)
    view.wait()
    view.override(1, 1)
    view.wait()
    assert asked == [(), (4,), (4, 1), (4, 1, 7), (4, 2), (4, 2, 3)]
    view.beam.value = 3
    view.wait()
    assert view.chain == follow(stepper, "q", FACTS, beam=3, forced={0: 4, 1: 1})[0]
    assert len(asked) == len(set(asked))
    view.close()


@pytest.mark.parametrize(
    ("hop", "why"),
    [((4, 0), "step=4.*at most 3"), ((-1, 0), "step=-1.*at least 0"),
     ((1, 13), "place=13.*at most 12"), ((1, -2), "place=-2.*at least -1"),
     ((2, 4), "place=4.*step 0 already")], ids=str,
)  # fmt: skip
def test_a_hop_that_is_none_is_refused(ui, hop, why):
    with pytest.raises(ValueError, match=why):
        ui.override(*hop)
    assert ui.chain.facts == (4, 1, 7)


def test_at_the_seventh_fact_a_chain_can_only_end():
    view = wb.ui.chain_steps("q", FACTS, lambda q, facts, read: Step(
        np.array([0.0 if v in read else 0.9 for v in range(len(facts))]), 0.01))  # fmt: skip
    view.read()
    view.wait()
    assert view.chain.facts == (0, 1, 2, 3, 4, 5, 6)
    with pytest.raises(ValueError, match="step=7: a chain of 7 facts can only end"):
        view.override(7, 9)
    view.step.value = 7
    view.rows.selected = 9  # a click
    view.wait()
    assert "can only end" in view.message.value
    view.override(7, STOP)
    view.wait()
    assert view.forced[7] == STOP
    view.close()


def test_while_a_new_question_is_read_nothing_of_the_last_one_is_taken(ui):
    at_it, go = threading.Event(), threading.Event()

    def slow(question, facts, read):
        at_it.set()
        assert go.wait(20)
        return stepper(question, facts, read)

    ui.override(1, 2)
    ui.wait()
    ui.question.value, ui.stepper = "Another?", slow
    ui.read()
    assert at_it.wait(20)
    assert (ui.chain, ui.explanation, ui.forced) == (None, None, {})
    assert (ui.whole.value, ui.rows.svg, ui.step.max) == ("", "", 0)
    assert ui.undo.disabled
    for act in (lambda: ui.override(0, 1), ui.release):
        with pytest.raises(ValueError, match="no chain yet"):
            act()
    ui.rows.selected = 1
    assert "no chain yet" in ui.message.value
    ui.beam.value = 2  # of the new question, too
    go.set()
    ui.wait()
    assert ui.explanation.question == "Another?"
    assert ui.chain == follow(stepper, "Another?", FACTS, beam=2)[0]
    assert ui.explanation.retriever.beam == 2
    assert "Another?" in ui.whole.value


def test_a_beam_is_of_the_question_that_was_read_last(ui):
    ui.question.value = ""
    ui.read()
    ui.wait()
    assert 'role="alert"' in ui.message.value
    ui.beam.value = 3
    ui.wait()
    assert (ui.chain, ui.static().count("<h4>")) == (None, 0)


def test_without_a_chain_there_is_no_hop():
    view = wb.ui.chain_steps(stepper=stepper)
    for act in (lambda: view.override(0, 0), view.release):
        with pytest.raises(ValueError, match="no chain yet"):
            act()
    with pytest.raises(ValueError, match="no reader"):
        view.probe()
    view.read()
    view.wait()
    assert 'role="alert"' in view.message.value
    view.question.value, view.facts.value = "q", "a gate\n\n a gate\na gate\na door"
    view.read()
    view.wait()
    assert view.explanation.facts == ("a gate", "a door")
    assert "repeated facts, left out: 2" in view.whole.value
    with pytest.raises(ValueError, match="beam=9"):
        wb.ui.chain_steps(beam=9)
    view.stepper = lambda *_: Step(np.full(2, 2.0), 0.5)
    view.read()
    view.wait()
    assert "probability 2.0" in view.message.value
    view.close()


def test_the_picture_has_every_step(ui):
    picture = ui.static()
    assert [f"step {j}<" in picture for j in range(5)] == [True] * 4 + [False]
    assert "Who &lt;is&gt; it?" in picture
    assert "<b>" not in picture
    assert picture.count('aria-pressed="true"') == 4


def test_words_are_marked_by_where_they_stand():
    facts = "Ada mends the gate.", "The gate is red.", "Oon lies by the sea."
    rarity = rarities(facts)
    assert rarity["the"] == 0
    assert rarity["ada"] == 1
    assert rarity["gate"] == pytest.approx(math.log(3 / 2) / math.log(3))
    pieces = re.findall(
        r"255|224,([\d.]+)\);background:rgba\(217,138,31,([\d.]+)\)\">([^<]*)<",
        marked(facts[1], "Who mends the red thing?", facts[0], rarity),
    )
    assert pieces == [("0.00", "0.00", "The"), ("0.00", "0.28", "gate"), ("0.00", "0.00", "is"),
                      ("1.00", "0.00", "red.")]  # fmt: skip


def test_the_s_of_a_name_is_no_word_that_is_shared():
    rarity = rarities(("Ada's gate.", "Bo's door."))
    assert rarity["s"] == 0
    shown = marked("Bo's door.", "Ada's?", "Ada's gate.", rarity | {"s": 0.5})
    assert {*re.findall(r"224,([\d.]+)|31,([\d.]+)", shown)} == {("0.00", ""), ("", "0.00")}


def reader(question, facts):
    """The last fact, if what it follows is there too."""
    return facts[-1] if len(facts) > 1 else "unknown"


def test_what_an_answer_rests_on_is_asked_of_the_reader():
    facts = {5: "a", 2: "b", 9: "c"}
    table = re.findall(r"<td>(.*?)</td>" * 3, rests_on("q", facts, reader))
    assert table == [
        ("all", "c", ""), ("none", "unknown", "changed"), ("in reverse", "a", "changed"),
        ("without 5", "c", ""), ("5 last", "a", "changed"), ("without 2", "c", ""),
        ("2 last", "b", "changed"), ("without 9", "b", "changed"), ("9 first", "b", "changed"),
        ("fewest that keep the answer", "5, 9", ""),
    ]  # fmt: skip


def test_an_answer_in_other_writing_has_not_changed():
    replies = {("a", "b"): "The 1,200 gates.", ("b",): "1200 gates", ("a",): "1201 gates", (): ""}
    table = rests_on("q", {1: "a", 2: "b"}, lambda _, facts: replies[tuple(sorted(facts))])
    assert re.findall(r"<td>(.*?)</td>" * 3, table) == [
        ("all", "The 1,200 gates.", ""), ("none", "", "changed"),
        ("in reverse", "The 1,200 gates.", ""), ("without 1", "1200 gates", ""),
        ("1 last", "The 1,200 gates.", ""), ("without 2", "1201 gates", "changed"),
        ("2 first", "The 1,200 gates.", ""), ("fewest that keep the answer", "2", ""),
    ]  # fmt: skip
    silent = rests_on("q", {1: "a"}, lambda *_: "")
    assert "changed" not in silent


def test_what_one_fact_is_worth_is_said_once():
    table = re.findall(
        r"<td>(.*?)</td>" * 3, rests_on("q", {5: "oak"}, lambda q, told: "".join(told))
    )
    assert table == [
        ("all", "oak", ""), ("none", "", "changed"), ("fewest that keep the answer", "5", ""),
    ]  # fmt: skip


def test_where_nothing_is_read_there_is_nothing_to_rest_on():
    view = wb.ui.chain_steps("q", FACTS, lambda q, facts, read: Step(np.zeros(len(facts)), 1.0),
                             reader=reader)  # fmt: skip
    view.read()
    view.wait()
    assert view.chain.facts == ()
    assert view.undo.disabled
    assert "step 0.00 nats" in view.whole.value  # not -0.00
    with pytest.raises(ValueError, match="nothing is read"):
        view.probe()
    view.close()


def test_the_readers_answer_is_probed():
    view = wb.ui.chain_steps("q", FACTS, stepper, reader=reader)
    assert view.ask.disabled
    view.read()
    view.wait()
    assert view.explanation.answer == FACTS[7]
    view.ask.click()
    view.wait()
    assert "fewest that keep the answer" in view.probed.value
    assert "without 1" in view.static()
    view.override(1, STOP)
    view.wait()
    assert (view.probed.value, view.explanation.answer) == ("", "unknown")
    view.reader = lambda *_: 3
    view.read()
    view.wait()
    assert "the reader gave 3" in view.message.value
    view.reader = reader
    view.read()
    view.wait()
    view.reader = lambda *_: 3
    view.probe()
    view.wait()
    assert "must be a text" in view.message.value
    view.close()
