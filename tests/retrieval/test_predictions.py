"""Files of predictions: there and back; what does not belong to the questions is named."""

import json

import numpy as np
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
        ({"q4": {"edges": [[0, 1, float("nan")]]}}, "no triple"),
        ({"q4": {"edges": [[0, 1, 10**400]]}}, "no triple"),
        ({"q4": {"edges": [[0, 10**400, 0.5]]}}, "no triple"),
        ({"q4": {"answer": ["Rome"]}}, r"row 4 \(q4\): field 'answer' is \['Rome'\]"),
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


def test_two_questions_of_one_id_have_no_predictions(file):
    with pytest.raises(DatasetError, match=r"of questions of one id: q0$"):
        read_predictions(file(), [*QUESTIONS, QUESTIONS[0]])


def test_scores_of_arrays_are_written_as_numbers(tmp_path):
    scores = {(np.int64(ROOT), np.int64(1)): np.float32(0.5)}
    write_predictions(tmp_path / "p.jsonl", QUESTIONS[:1], [Prediction(scores)], "bgr")
    assert read_predictions(tmp_path / "p.jsonl", QUESTIONS[:1]) == [Prediction({(ROOT, 1): 0.5})]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], "0 predictions for 1 questions"),
        ([Prediction({(ROOT, 0): float("nan")})], r"q0: score of \(-1, 0\)=nan"),
        ([Prediction({(ROOT, 3): 0.5})], "q0: end of an edge=3"),
        ([Prediction({(-2, 0): 0.5})], "q0: start of an edge=-2"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, made, said):
    with pytest.raises(ValueError, match=said):
        write_predictions(tmp_path / "p.jsonl", QUESTIONS[:1], made, "bgr")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="ids of questions: 'q0' is there twice"):
        write_predictions(tmp_path / "p.jsonl", QUESTIONS[:1] * 2, [Prediction({})] * 2, "bgr")
