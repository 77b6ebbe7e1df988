"""Tables of a study worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.pas_study import EVERYTHING, GROUP, STUDY, X, Y, people, study, subject
from workbench.evaluation.intervals import AMOUNT
from workbench.evaluation.metrics import measured
from workbench.papers.pas import scores, tables
from workbench.papers.pas.paper import PUBLISHED, REFERENCE_300, SCORES_300
from workbench.papers.pas.profile import facet_means
from workbench.papers.pas.reference import BEST_CONSTANT, MISSCORED, PREDICTORS
from workbench.papers.pas.study import Group


def table(rows, key="method"):
    return {row[key]: row for row in rows}


def test_rows_of_the_table():
    found = table(tables.scores(STUDY))
    expected = {
        "always (C)": (2.0, 0.5, 2.5),
        "no persona": (2.0, 0.5, 2.5),
        "pas, validated": (1.0, 0.5, 1.5),
        "pas, one alpha": (2.0, 0.5, 2.5),
        "pas, oracle": (0.5, 0.0, 0.5),
        "DPO per subject": (2.0, 0.0, 2.0),
        "pas, validated, DPO's subjects only": (0.0, 1.0, 1.0),
    }
    for method, (a, c, score) in expected.items():
        row = found[method]
        assert (row["A"], row["C"], row["Score"]) == pytest.approx((a, c, score)), method
    assert [found[m]["subjects"] for m in ("pas, oracle", "DPO per subject")] == [2, 1]
    assert found["pas, oracle"]["95 % CI"] == "[0.00, 6.85]"
    assert found["pas, oracle"]["Score"] <= found["pas, validated"]["Score"]
    # What the searches say of their own errors is what the tables find.
    (errors,) = scores.method_errors(STUDY)["pas, oracle"]
    assert errors.sum(1).tolist() == [X.test[2], Y.test[1]]


def test_paired_differences():
    found = {(r["Score of"], r["minus"]): r["difference"] for r in tables.differences(STUDY)}
    assert found == {
        ("pas, validated", "no persona"): -1.0,
        ("pas, one alpha", "no persona"): 0.0,
        ("pas, oracle", "pas, validated"): -1.0,
        ("pas, validated, DPO's subjects only", "DPO per subject"): -1.0,
    }
    all_of_them = tables.differences(study(replace(GROUP, searched=EVERYTHING)))
    assert len(all_of_them) == 11
    for row in all_of_them:
        low, high = map(
            float, row["95 % CI"].strip("[]").split(",") if row["95 % CI"] != "–" else (-9, 9)
        )
        assert low <= row["difference"] <= high


def test_recorded_metrics():
    found = table(tables.metrics(study(replace(GROUP, searched=EVERYTHING))), "name")
    expected = {
        "score_pas_validated": 1.5,
        "score_pas_one_alpha": 2.5,
        "score_pas_oracle": 0.5,
        "score_no_persona": 2.5,
        "score_always_neutral": 2.5,
        # Both mean A 5 and 1, C 4 and 3, turned for the negative items: all right.
        "score_own_trait_mean": 0.0,
        "score_fewshot": 2.5,
        "score_dpo": 2.0,
        "score_pas_validated_dpo_subjects": 1.0,
        "seconds_per_subject_pas": 5.0,  # half of the extraction, fit and validation
        "seconds_per_subject_dpo": 30.0,
        "skill": 1 - 1.5 / 2.5,
        "trait_correlation": 0.5,
        "selection_gain": 1.0,
        "share_common": 0.5,
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value), name
        low, high = found[name]["ci95"] or (value, value)
        assert low <= found[name]["value"] <= high
    others = ("fewshot_pas_validated", "fewshot_pas_oracle", "p2", "p2_pas_validated",
              "pas_centered", "pas_weighted", "pas_shuffled")  # fmt: skip
    by_trait = {f"error_{t}_fewshot_pas_oracle" for t in GROUP.respondents.inventory.traits}
    assert set(found) == {*expected, *by_trait, *(f"score_{o}" for o in others)}
    assert found["skill"]["ci95"][0] < 0.4 < found["skill"]["ci95"][1]
    without = table(tables.metrics(study(replace(GROUP, tuned=[]))), "name")
    assert not [n for n in without if "dpo" in n]
    assert scores.neutral(STUDY) == 2.5


def test_published_values_stand_beside_what_was_released():
    """Steered under the few-shot prompt, at the alpha that is best on the test."""
    searched = {**EVERYTHING, "fewshot+pas": [X, Y], "pas": [Y, Y]}
    everything = study(replace(GROUP, searched=searched))
    (errors,) = scores.method_errors(everything)["fewshot+pas, oracle"]
    found = table(tables.metrics(everything), "name")
    beside = {n: m["published"] for n, m in found.items() if m["published"] is not None}
    assert beside == {
        "error_A_fewshot_pas_oracle": 0.94, "error_C_fewshot_pas_oracle": 0.91,
        "score_fewshot_pas_oracle": 4.41,
    }  # fmt: skip
    values = [found[name]["value"] for name in beside]
    assert values[0] == pytest.approx(errors.sum(1).mean()) == 0.5
    assert values[1:] == pytest.approx(errors.mean(0).tolist())
    row = table(tables.scores(everything))["fewshot+pas, oracle"]
    assert [row[c] for c in ("Score", "A", "C")] == pytest.approx(values)
    assert found["score_pas_oracle"]["value"] != pytest.approx(values[0])
    assert sum(p["value"] for p in PUBLISHED[:5]) == pytest.approx(PUBLISHED[5]["value"])
    # A constant for each person may come as near as anything.
    flat = [replace(s, answers=[[value] * 4] * 3) for s, value in ((X, 2), (Y, 4))]
    constant = study(replace(GROUP, searched={**searched, "fewshot+pas": flat}))
    for others in (STUDY, constant):
        metrics = table(tables.metrics(others), "name")
        assert not [n for n, m in metrics.items() if m["published"] is not None]


def test_a_published_value_says_whose_answers_it_is_of_and_whose_ours_are():
    real = table(tables.metrics(study(replace(GROUP, searched=EVERYTHING))), "name")
    setting = real["score_fewshot_pas_oracle"]["published_setting"]
    assert setting == (
        "released PAS (few-shot prompt, alpha best on the test) on Llama-3-8B-Instruct, 300 real "
        "people of PAPI, released values; here small, 2 people, raw values"
    )
    made_up = replace(GROUP.respondents, traits=np.zeros((2, 2)), targets="released")
    group = replace(GROUP, respondents=made_up, searched=EVERYTHING)
    for m in tables.metrics(study(group)):
        if m["published"] is not None:
            assert m["published_setting"].endswith("here small, 2 invented people, released values")


def test_who_was_drawn_twice_is_one_subject():
    """Two seeds of other people, of one in both, and of the same."""
    intervals = []
    for ids in (("v", "w"), ("x", "w"), ("x", "y")):
        other = replace(GROUP, seed=1, respondents=people(ids=ids), tuned=[])
        both = study(replace(GROUP, tuned=[]), other)
        row = table(tables.metrics(both), "name")["score_no_persona"]
        scored = [e.sum(1).tolist() for e in scores.method_errors(both)["no persona"]]
        units = {"seeds": [0, 0, 1, 1], "subjects": ["x", "y", *ids]}
        expected = measured("score", [*scored[0], *scored[1]], units, limits=AMOUNT)
        assert (row["ci95"], row["unit"]) == (expected["ci95"], expected["unit"])
        assert tables.over(both) == row["unit"] == "seeds and subjects"
        intervals.append(tuple(row["ci95"]))
    assert len(set(intervals)) > 1


def test_a_correlation_that_cannot_be_told_is_left_out():
    """Of a single person there is none; as 0 it would say that nothing was told apart."""
    alone = replace(GROUP, respondents=people().take([0]), searched={"pas": [X]}, tuned=[])
    assert "trait_correlation" not in table(tables.metrics(study(alone)), "name")
    both = study(replace(GROUP, tuned=[]), alone)
    two = table(tables.metrics(both), "name")["trait_correlation"]
    assert (two["value"], two["n"]) == (pytest.approx(0.5), 2)


def test_correlations_where_nobody_is_told_apart_have_no_interval():
    """All 0 because nothing varies: no count of events of which there was none."""
    alike = [replace(s, validation=[0, 1, 1]) for s in (X, Y)]
    group = replace(GROUP, searched={"pas": alike}, tuned=[])
    row = table(tables.metrics(study(group, replace(group, seed=1))), "name")["trait_correlation"]
    assert (row["value"], row["n"], row["ci95"], row["unit"]) == (0, 4, None, None)


def test_letters_and_profiles():
    rows = tables.letters(STUDY)
    assert [r["alpha"] for r in rows] == [0.0, 1.0, 2.0]
    middle, one, two = rows
    assert (middle["answer 3"], middle["answer 5"]) == (1.0, 0.0)
    assert (middle["subjects with one answer"], one["subjects with one answer"]) == (2, 0)
    # 5 1 3 3 and 2 4 3 3: one and a half bits each; 5 1 4 2 and 3 3 5 5: two bits and one.
    bits = [r["entropy per subject (bits)"] for r in rows]
    assert bits == pytest.approx([0.0, 1.5, 1.5])
    assert [r["chosen (validated)"] for r in rows] == [1, 1, 0]
    assert two["answer 5"] == pytest.approx(3 / 8)
    assert scores.extreme(GROUP) == 0  # x gains 2, y nothing
    best_at_last = subject("w", X.answers, [1, 2, 3], [9, 1, 0])
    two = people(ids=("w", "x"))
    assert scores.extreme(Group(0, two, {"pas": [best_at_last, X]}, [])) == 1
    assert tables.profiles(GROUP, 0) == {
        "own answers": {"A": 5.0, "C": 4.0},
        "pas, validated": {"A": 5.0, "C": 3.0},
        "no persona": {"A": 3.0, "C": 3.0},
    }
    assert tables.profiles(GROUP, 1)["own answers"] == {"A": 1.0, "C": 3.0}
    assert facet_means(GROUP.respondents, 1) == {"A: f": 1.0, "C: f": 3.0}
    # y's own answers, turned, are 1 1 1 1 | 3 3 3 and one missing; as stored 1 5 1 5 | 3 3 3.
    released = replace(GROUP.respondents, targets="released")
    assert facet_means(released, 1) == {"A: f": 3.0, "C: f": 3.0}


def test_times():
    found = table(tables.times(STUDY))
    assert found["pas"]["in all"] == 2 + 1 + 2
    assert found["pas"]["extraction, shared"] == 2
    assert found["pas"]["forwards"] == 12
    assert found["pas"]["DPO takes"] == "6.0 times that"
    assert (found["DPO"]["in all"], found["DPO"]["steps"]) == (30.0, 9)
    alone = table(tables.times(study(replace(GROUP, tuned=[]))))
    assert set(alone) == {"pas"}
    assert alone["pas"]["DPO takes"] == "–"


def test_the_published_row_ends_the_rows_without_a_model():
    rows = table(tables.published(), "predictor")
    assert list(rows)[:-1] == [*REFERENCE_300, *SCORES_300]
    assert rows["always (C)"]["Score"] == 3.799
    assert rows["ridge from the train items"]["Score"] == 2.336
    assert rows["ridge from the train items, rounded"]["Score"] == 1.937
    assert rows["best constant per subject (oracle)"]["Score"] == 3.467
    assert {*REFERENCE_300, *SCORES_300} <= {*PREDICTORS, MISSCORED, BEST_CONSTANT}
    assert "300 real people" in list(rows)[-1]
    *_, last = rows.values()
    assert [last[c] for c in ("A", "C", "E", "N", "O", "Score")] == [
        0.94,
        0.91,
        0.86,
        0.98,
        0.72,
        4.41,
    ]


def test_the_parameters_that_are_recorded():
    recorded = tables.parameters(study(GROUP, replace(GROUP, seed=3)))
    assert (recorded["model"], recorded["subjects"], recorded["seeds"]) == ("small", 2, [0, 3])
    assert (recorded["decode"], recorded["keying"]) == ("letters", "raw")
