"""Settings: what is refused."""

import sys

import pytest

from workbench.errors import RunError
from workbench.papers.self_verification.paper import Settings


@pytest.mark.parametrize(
    "bad",
    [{"k": 0}, {"p": -1}, {"sc": 0}, {"t_forward": -0.1}, {"t_backward": -1.0}, {"shots": -2},
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
