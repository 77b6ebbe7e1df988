"""The planted styles come back as features, with their words."""

import pandas as pd

from workbench.papers.fpo import feature_tables, figures, presets
from workbench.papers.fpo.study import FeatureEnd, Study
from workbench.sae.diff import diff_features
from workbench.sae.lens import lens
from workbench.sae.pooling import Constraint
from workbench.sae.table import feature_table
from workbench.training.pairs import tokenised
from workbench.worlds import styles


def test_the_planted_styles_come_back(tmp_path):
    """By effect alone, on shipped pairs: the best features are about the planted words."""
    settings = presets.settings("tiny")
    inputs = presets.inputs("tiny", settings)
    pairs = tokenised(inputs.test, inputs.tokenizer, settings.max_length)
    model, sae, hook = inputs.reference, inputs.sae, inputs.hook
    diff = diff_features(model, model, pairs, sae, hook, tmp_path / "run", Constraint(k=8))
    table = feature_table(diff, sae, permutations=1000)
    shown = lens(model, sae, hook, inputs.tokenizer)
    study = Study(
        inputs=inputs, settings=settings, rows=pairs, health=None, trained=[], shifts={},
        ends=[FeatureEnd(None, diff, table)], lens=shown, bench={}, costs=[], step_ratios=[],
    )  # fmt: skip
    rows = feature_tables.telling(study, count=8)
    liked = {*styles.POLITE, *styles.BULLET}
    disliked = {*styles.RUDE, *styles.PLAIN}
    about = {"chosen": 0, "rejected": 0}
    manners = set()
    for row in rows:
        words = set((row["active on"] + " " + row["decoder speaks for"]).split())
        kind = {"chosen": liked, "rejected": disliked}[row["more in"]]
        about[row["more in"]] += bool(words & kind)
        manners |= words & {*styles.POLITE, *styles.RUDE}
        manners |= words & {*styles.BULLET, *styles.PLAIN}
        assert abs(row["AUROC"] - 0.5) > 0.25
        assert row["q"] <= 0.05
    assert sum(about.values()) >= 6
    assert manners & {*styles.POLITE, *styles.RUDE}
    assert manners & {*styles.BULLET, *styles.PLAIN}
    told = int((table["q_ref"] <= 0.05).sum())
    assert f"of {told} that do" in feature_tables.telling_title(study)
    table["q_ref"] = 1.0
    assert "No feature tells chosen from rejected" in feature_tables.telling_title(study)
    # No reference differs from itself.
    assert table["share_rejected"].sum() == 0
    best = rows[0]["feature"]
    numbers = feature_tables.card(study, best)
    assert numbers[0]["reference"] == numbers[0]["policy"] > 0
    reference, policy = figures.pooled_means(study.weakest)
    assert reference == policy
    assert [row["drift"] for row in feature_tables.pairs(study, best)] == [0] * 5
    feature_tables.save(study, tmp_path)
    assert len(pd.read_parquet(tmp_path / "features.parquet")) == 256
    assert (tmp_path / "features.json").exists()
