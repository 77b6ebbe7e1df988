"""Settings: what is refused."""

import sys

import pytest

from workbench.errors import RunError
from workbench.papers.self_verification import presets
from workbench.papers.self_verification.paper import LIKE_SVAMP, Settings, called, settings


@pytest.mark.parametrize(
    "bad",
    [{"k": 0}, {"k": 10**400}, {"sc": 10**9}, {"p": 10**7},
     {"p": -1}, {"sc": 0}, {"t_forward": -0.1}, {"t_backward": -1.0}, {"shots": -2},
     {"max_new_tokens": 0}, {"max_conditions": -1}, {"votes": -0.5}, {"verification": "rtv"},
     {"conditions": "last"}, {"masking": "tokens"}, {"extraction": "strict"},
     {"equation_style": "latex"}, {"early_stop": True, "votes": 0.1}],
)  # fmt: skip
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad)).split("_")[0]):
        Settings(**bad)


def test_a_parser_that_is_not_installed_is_refused_before_the_run(monkeypatch):
    assert Settings(extraction="math-verify").extraction == "math-verify"
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(RunError, match=r"steering-workbench\[math\]"):
        Settings(extraction="math-verify")


def test_small_asks_other_problems_of_ours_for_each_seed():
    problems = presets.problems("small", "", "", 0, [0, 1, 2])
    ids = [p.id for rows in problems.values() for p in rows]
    assert len(set(ids)) == len(ids) == 39
    assert {called(p) for rows in problems.values() for p in rows} == {LIKE_SVAMP}
    assert settings("small").chat
    assert not settings("small", chat="false").chat
    assert settings("tiny", chat="True", shots=0).chat
    assert presets.stages("small", "", problems) == {}


def test_plain_prompts_where_there_is_no_chat_template(caplog):
    model = presets.model("small", "sums")
    chosen = settings("small")
    assert chosen.chat
    assert not presets.fitting(chosen, model).chat
    assert "sums has no chat template" in caplog.text
    assert presets.fitting(chosen, model, "true").chat
    with_template = presets.model("small", "tiny")
    assert presets.fitting(chosen, with_template) == chosen
