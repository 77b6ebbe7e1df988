"""The published numbers."""

from workbench.papers.safetylock.paper import PUBLISHED, Settings


def test_published_table_is_the_papers():
    values = {(p["model"], p["metric"]): p["value"] for p in PUBLISHED}
    assert values["Llama-3-8B-Instruct + SafetyLock", "asr_locked"] == 0.19
    assert values["Llama-3-70B-Instruct fine-tuned", "harmfulness_score_attacked"] == 3.11
    assert len(values) == len(PUBLISHED) == 12
    assert Settings().pairs == 100
