"""Files of predictions: there and back; what does not belong to the questions is named."""

import json

import pytest

from workbench.errors import DatasetError
from workbench.retrieval.graphs import ROOT, Evidence
from workbench.retrieval.predictions import Prediction, read_predictions, write_predictions

QUESTIONS = [Evidence(f"q{i}", "?", ("A.", "B.", "C."), ((ROOT, 0),)) for i in range(8)]


@pytest.fixture
def file(tmp_path):
    def write(**of_id):
        rows = [{"id": q.id, "edges": [[-1, 0, 0.5]]} for q in QUESTIONS]
        rows = [row | of_id.pop(row["id"], {}) for row in rows]
        rows += [{"id": name, "edges": []} | row for name, row in of_id.items()]
        path = tmp_path / "predictions.jsonl"
        lines = [json.dumps(row) for row in rows if row["id"] is not None]
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def test_there_and_back(tmp_path):
    made = [
        Prediction({(ROOT, i % 3): 0.1 * i, (0, 1): 1e-9, (1, 0): -3.25}, f"é{i}") for i in range(8)
    ]
    path = tmp_path / "p.jsonl"
    write_predictions(path, QUESTIONS, made, "bgr")
    assert read_predictions(path, QUESTIONS) == made
    assert read_predictions(path, QUESTIONS[::-1]) == made[::-1]
    assert made[5].edges(0.2) == [(ROOT, 2)]
    assert made[5].edges() == [(ROOT, 2), (0, 1), (1, 0)]


def test_nothing_predicted_is_a_prediction(file):
    assert read_predictions(file(q3={"edges": []}), QUESTIONS)[3] == Prediction({})


@pytest.mark.parametrize(
    ("of_id", "said"),
    [
        ({f"x{i}": {} for i in range(7)}, "no question has: x0, x1, x2, x3, x4 and 2 more"),
        ({"q1": {"id": None}, "q5": {"id": None}}, "lacks the questions: q1, q5$"),
        ({"again": {"id": "q2"}}, "more than once: q2"),
        ({"q4": {"edges": [[0, 1, "high"]]}}, r"row 4 \(q4\): edge .* no triple"),
        ({"q4": {"edges": [[0, 1]]}}, "no triple"),
        ({"q4": {"edges": [[0, 1, True]]}}, "no triple"),
        ({"q4": {"edges": [[0, 1, None]]}}, "no triple"),
        ({"q4": {"edges": [7]}}, "no triple"),
        ({"q4": {"edges": "none"}}, "field 'edges'"),
        ({"q4": {"edges": [[0, 3, 0.5]]}}, "leaves the 3 facts"),
        ({"q4": {"edges": [[0, 1.5, 0.5]]}}, "leaves the 3 facts"),
        ({"q4": {"edges": [[0, -1, 0.5]]}}, "leaves the 3 facts"),
        ({"q4": {"edges": [[0, 1, 0.5], [0, 1, 0.6]]}}, "there twice"),
    ],
)
def test_what_does_not_belong_to_the_questions_is_named(file, of_id, said):
    with pytest.raises(DatasetError, match=said):
        read_predictions(file(**of_id), QUESTIONS)
