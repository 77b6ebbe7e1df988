"""The evidence UI: it fuses as the study does, grows hop by hop, and reads a text of one's own."""

import json
import re
import threading
from types import SimpleNamespace
from xml.etree import ElementTree

import networkx as nx
import pytest

import workbench as wb
from workbench.retrieval.graphs import ROOT, Evidence
from workbench.retrieval.lexical import words
from workbench.retrievers import fuse
from workbench.widgets.graph_view import graph_svg

FACTS = tuple(f"fact {name} <b>" for name in "abcdef")
GOLD = ((ROOT, 0), (0, 1), (1, 2))
AHEAD = [(ROOT, 0, 0.9), (0, 1, 0.8), (1, 2, 0.6), (0, 3, 0.5), (3, 4, 0.1)]
BACK = [(ROOT, 0, 0.7), (0, 1, 0.9), (1, 2, 0.9), (0, 3, 0.2)]
STUDY = SimpleNamespace(
    test=[Evidence("q", "Who is c?", FACTS, GOLD, "Cee"),
          Evidence("r", "Who is f?", FACTS, ((ROOT, 5),), "Eff")],
    searched={"forward": [AHEAD, [(ROOT, 5, 0.9)]], "backward": [BACK, []]},
    tuned={"bgr": ["w 0.6, τ 0.4"]},
)  # fmt: skip


@pytest.fixture
def ui(tmp_path):
    view = wb.ui.evidence(STUDY, folder=tmp_path)
    yield view
    view.close()


def drawn(view):
    """(from, to) → kind of the edges in the picture, and its nodes."""
    titles = re.findall(r"<title>(\w+) to (\d+): ([\w ,]*?)(?:, [\d.]+)?</title>", view.graph.svg)
    nodes = {int(v) for v in re.findall(r'data-node="(-?\d+)"', view.graph.svg)}
    return {(ROOT if u == "Q" else int(u), int(v)): kind for u, v, kind in titles}, nodes


def test_sliders_fuse_as_the_method_does(ui):
    assert (ui.w.value, ui.tau.value) == (0.6, 0.4)
    for theta, w, tau in ((0.05, 0.6, 0.4), (0.05, 1.0, 0.05), (0.55, 0.5, 0.3), (0.05, 0.2, 0.85)):
        ui.theta.value, ui.w.value, ui.tau.value = theta, w, tau
        above = [[edge for edge in edges if edge[2] > theta] for edges in (AHEAD, BACK)]
        expected = fuse.soft(*above, w, tau)
        kinds, nodes = drawn(ui)
        assert {e for e, kind in kinds.items() if kind != "gold, missed"} == {*expected}
        assert {e for e, kind in kinds.items() if kind == "gold, missed"} == {*GOLD} - {*expected}
        right = {e for e, kind in kinds.items() if kind == "gold and predicted"}
        assert right == {*GOLD} & {*expected}
        assert nodes == {v for e in {*expected, *GOLD} for v in e}
        assert [(u, v) for u, v, _ in sorted(ui.explanation.edges)] == expected
    ui.asked.value = 1
    assert ui.explanation.question == "Who is f?"
    assert drawn(ui)[1] == {ROOT, 5}


def test_the_graph_grows_from_both_sides(ui):
    ui.tau.value = 0.35  # Q→0→1→2, and 0→3 beside it
    assert (ui.hop.max, ui.hop.value) == (3, 3)
    there = {}
    for side in ui.side.options:
        ui.side.value = side
        for hop in range(4):
            ui.hop.value = hop
            there[side, hop] = {e for e, k in drawn(ui)[0].items() if k != "gold, missed"}
    everything = {(ROOT, 0), (0, 1), (1, 2), (0, 3)}
    both, question, answer = ui.side.options
    assert [there[question, n] for n in range(3)] == [
        set(), {(ROOT, 0)}, {(ROOT, 0), (0, 1), (0, 3)}
    ]  # fmt: skip
    assert [there[answer, n] for n in range(3)] == [
        set(), {(1, 2)}, {(1, 2), (0, 1), (0, 3)}
    ]  # fmt: skip
    assert there[both, 1] == {(ROOT, 0), (1, 2)}
    assert there[both, 2] == there[question, 3] == there[answer, 3] == everything


def test_a_fact_that_is_picked_shows_its_candidates(ui):
    assert "Who is c?" in ui.beside.value
    assert "Cee" in ui.beside.value
    ui.graph.selected = 0
    assert "fact a &lt;b&gt;" in ui.beside.value
    rows = re.findall(r"<tr><td>(\d+)</td>.*?</tr>", ui.beside.value)
    assert rows == ["1", "3"]
    numbers = re.findall(r">(\d\.\d\d)</div>", ui.beside.value)
    assert numbers == ["0.80", "0.90", "0.84", "0.50", "0.20", "0.00"]
    assert 'data-node="0" tabindex="0" role="button" aria-pressed="true"' in ui.graph.svg
    assert "<b>" not in ui.static()
    assert ui.graph.svg in ui.static()
    assert ui.drop.disabled
    ElementTree.fromstring(ui.graph.svg)


def test_the_graph_is_saved_as_its_ending_says(ui, tmp_path):
    assert json.loads(ui.save_as("a.json").read_text())["answer"] == "Cee"
    graph = nx.parse_graphml(ui.save_as("a.graphml").read_text())
    assert set(graph) == {"Q", "0", "1", "2"}
    assert "**Answer** Cee" in ui.save_as("a.md").read_text()
    assert "<svg" in ui.save_as("a.html").read_text()
    ui.save_name.value = "a.json"
    ui.save.click()
    assert "exists" in ui.message.value
    ui.save_name.value = "a.txt"
    ui.save.click()
    assert "ends in .json" in ui.message.value
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.graphml", "a.html", "a.json", "a.md"]


def shared(question, facts):
    asked = set(words(question))
    shares = [len(asked & set(words(fact))) / len(words(fact)) for fact in facts]
    return [(ROOT, v, share) for v, share in enumerate(shares) if share]


def test_a_text_of_ones_own_is_read():
    view = wb.ui.evidence(question="mend a gate", facts="mend the gate\n\n  \na hammer",
                          retriever=shared)  # fmt: skip
    view.read()
    view.wait()
    assert view.explanation.facts == ("mend the gate", "a hammer")
    assert drawn(view)[0] == {(ROOT, 0): "read", (ROOT, 1): "read"}
    view.graph.selected = 0
    view.wait()
    assert dict(re.findall(r'title="([\d.-]+)".*?>(\w+) <', view.beside.value)) == {
        "0.333": "gate", "0": "a"
    }  # fmt: skip
    assert not view.drop.disabled
    view.drop.click()
    view.wait()
    assert drawn(view)[0] == {(ROOT, 1): "read"}
    assert "left out" in view.table.value
    view.facts.value = "\n".join(f"a thing {i}" for i in range(2001))
    view.read()
    view.wait()
    assert "of 2001 facts the 200 nearest" in view.message.value
    assert len(view.explanation.facts) == 2001
    view.question.value = " "
    view.wait()
    assert "question" in view.message.value
    view.facts.value = ""
    view.question.value = "gate"  # its facts are still to come
    view.wait()
    assert "question" in view.message.value
    view.start.click()
    view.wait()
    assert "no facts" in view.message.value
    with pytest.raises(ValueError, match="read a text first"):
        wb.ui.evidence().save_as("a.json")
    view.close()


def test_what_is_picked_is_of_the_question_that_is_shown():
    chain = [(ROOT, 0, 0.5), (0, 5, 0.5)]
    view = wb.ui.evidence(None, "a gate", [f"gate {i}" for i in range(6)], lambda q, f: chain)
    view.read()
    view.wait()
    view.graph.selected = 5
    view.wait()
    view.question.value = "which gate"
    view.wait()
    assert "read answer" in view.beside.value
    view.graph.selected = 5
    chain[:] = [(ROOT, 0, 0.5)]
    view.facts.value = "one gate"  # and no fact 5
    view.read()
    view.wait()
    assert view.message.value == ""
    assert "read answer" in view.beside.value
    view.close()


def test_a_fact_that_is_picked_ends_no_reading():
    held, going = threading.Event(), threading.Event()
    held.set()

    def retriever(question, facts):
        going.set()
        assert held.wait(20)
        return shared(question, facts)

    view = wb.ui.evidence(None, "a gate", ["a gate", "the gate"], retriever)
    view.read()
    view.wait()
    held.clear()
    going.clear()
    view.question.value = "the gate"
    assert going.wait(20)
    view.graph.selected = 1
    held.set()
    view.wait()
    assert view.explanation.question == "the gate"
    view.close()


def test_facts_that_are_read_are_in_the_table_wherever_they_stand():
    facts = [*(f"thing {i}" for i in range(300)), "a gate"]
    view = wb.ui.evidence(None, "which gate", facts, shared)
    view.read()
    view.wait()
    rows = re.findall(r"<tr><td>(\d*)</td><td>([^<]*)</td><td>([^<]*)</td>", view.table.value)
    assert [row for row in rows if row[2]] == [("300", "a gate", "read")]
    assert rows[-1][1] == "and 100 more facts, none of them read"
    assert len(rows) == 202
    view.close()


@pytest.mark.parametrize(
    "facts", [["a", 3], {"a", "b"}, ["a", " "]], ids=["number", "set", "blank"]
)
def test_what_is_no_list_of_facts_is_refused(facts):
    with pytest.raises(ValueError, match="facts"):
        wb.ui.evidence(None, "gate", facts)


def test_pages_show_what_is_theirs(tmp_path):
    view = wb.ui.evidence(STUDY, "a gate", ["a gate"], shared, folder=tmp_path)
    assert view.pages.selected_index == 0
    view.read()
    view.wait()
    assert (view.pages.selected_index, view.explanation.facts) == (1, ("a gate",))
    assert re.findall(r">(\d\.\d\d)</div>", view.beside.value) == ["1.00"]
    view.pages.selected_index = 0
    assert view.explanation.facts == FACTS
    assert drawn(view)[0][0, 1] == "gold and predicted"
    view.pages.selected_index = 1
    assert view.explanation.facts == ("a gate",)
    view.close()


def test_a_study_without_scores_is_refused():
    with pytest.raises(ValueError, match="no study with method bgr"):
        wb.ui.evidence(SimpleNamespace(searched={"forward": []}))
    with pytest.raises(ValueError, match="comes in as question= and facts="):
        wb.ui.evidence("Who mends the gate?", FACTS)


def test_a_graph_with_a_circle_of_gold_or_nothing_is_drawn():
    ElementTree.fromstring(graph_svg("Q & <a>", FACTS, {}, None, set(), ROOT))
    edges = {(ROOT, 0): 0.5, (0, 1): 0.4}
    svg = graph_svg("Q", FACTS, edges, ((ROOT, 0), (1, 0)), {*edges}, 1)
    dashes = {child.get("stroke-dasharray") for child in ElementTree.fromstring(svg).iter("line")}
    assert dashes == {"", "9 5", "2 4"}
