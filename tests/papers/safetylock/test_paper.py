"""The published numbers, and what is refused before anything is loaded."""

import pytest

from workbench.errors import RunError
from workbench.papers.safetylock.paper import PUBLISHED, Settings, preflight, settings


def test_published_table_is_the_papers():
    values = {(p["model"], p["metric"]): p["value"] for p in PUBLISHED}
    assert values["Llama-3-8B-Instruct + SafetyLock", "asr_locked"] == 0.19
    assert values["Llama-3-70B-Instruct fine-tuned", "harmfulness_score_attacked"] == 3.11
    assert len(values) == len(PUBLISHED) == 12
    assert Settings().pairs == 100


def test_parameters_pin_what_a_run_costs():
    pinned = settings(
        "tiny", alpha=0.0, alphas="2, 0, 0.5", heads=0, r=0, selection="", draws=2, pairs=12,
        validated=3, evaluated=4, max_new_tokens=5, repeats=6,
    )  # fmt: skip
    assert pinned == Settings(
        pairs=12, heads_grid=(6, 12), alphas=(0.5, 2.0), selections=Settings().tiny().selections,
        max_new_tokens=5, validated=3, evaluated=4, draws=2, repeats=6,
    )  # fmt: skip
    nothing = dict.fromkeys(("pairs", "validated", "evaluated", "max_new_tokens", "repeats"), -1)
    for preset, own in (("tiny", Settings().tiny()), ("paper", Settings())):
        assert settings(preset, alpha=0.0, alphas="", draws=7, **nothing) == own


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alpha": 1.0, "alphas": "1,2"}, r"alphas='1,2' goes unheeded: alpha=1\.0 is given"),
        ({"alphas": "1,x"}, "alphas='1,x': 'x' is no finite number"),
        ({"alphas": "0"}, "no alphas"),
        ({"pairs": 9}, "pairs=9: it must be a whole number at least 10"),
        ({"pairs": 10**6}, "pairs=1000000: it must be a whole number at least 1 and at most"),
        ({"validated": 10**6}, "validated=1000000"),
        ({"evaluated": 10**6}, "evaluated=1000000"),
        ({"max_new_tokens": 513}, "max_new_tokens=513.* at most 512"),
        ({"repeats": 0}, "repeats=0"),
    ],
)
def test_what_no_run_could_heed_is_refused_before_anything_is_loaded(given, message):
    with pytest.raises((ValueError, RunError), match=message):
        preflight("tiny", given)


def test_counts_are_held_against_the_file_that_is_given(tmp_path):
    rows = [
        f'{{"prompt": "p{i}", "harmful": {str(i < 4).lower()}, "chosen": "c", "rejected": "r"}}'
        for i in range(6)
    ]
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    given = {"requests_path": str(path), "finetuned_id": "tiny"}
    preflight("tiny", {**given, "evaluated": 4, "validated": 4})
    with pytest.raises(RunError, match=r"evaluated=5: .* at most 4"):
        preflight("tiny", {**given, "evaluated": 5})
